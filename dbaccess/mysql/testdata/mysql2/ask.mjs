// Logs in as a program of the npm world does, and says which way of login it took.
import mysql from 'mysql2/promise'

const [port, user] = process.argv.slice(2)
const connection = await mysql.createConnection({
  host: '127.0.0.1', port: Number(port), user, password: 'whatever', database: 'shop', multipleStatements: true,
})
console.log('plugin', connection.connection.authPlugin ? 'asked' : 'none', connection.connection._handshakePacket?.authPluginName)
const [rows] = await connection.execute('select name from t where id = ?', [7])
console.log('row', rows[0].name)
const [many] = await connection.query('select 1 as a; select 2 as b')
console.log('many', many[0][0].a, many[1][0].b)
console.log('id', connection.threadId === (await connection.query('select connection_id() as id'))[0][0].id)
try {
  await connection.query('select nothing')
} catch (e) {
  console.log('error', e.code, e.errno)
}
await connection.ping()
await connection.changeUser({ user: 'mallory' }).then(() => console.log('changed'), (e) => console.log('change', e.errno))
connection.destroy()
