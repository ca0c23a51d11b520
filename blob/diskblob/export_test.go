package diskblob

// MostFolders is how many folders are remembered.
const MostFolders = mostFolders

// Remember notes a folder as durable.
func (d *Disk) Remember(dir string) { d.folders.add(dir) }

// Remembered counts the folders that are known to be durable.
func (d *Disk) Remembered() int {
	d.folders.mu.Lock()
	defer d.folders.mu.Unlock()
	return max(len(d.folders.known), len(d.folders.order))
}
