package tshcmd

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
)

// athenaFormats are for programs that reach Athena by a driver of Amazon's, which is
// given one string in place of an environment.
var athenaFormats = []string{"athena-odbc", "athena-jdbc"}

// tellAthena prints the string. The drivers take the pair and the proxy from it; that
// of Java has whom it trusts in a file of its own kind, which tsh does not write.
func (a *app) tellAthena(format string, l *cloudLocal) {
	env := map[string]string{}
	for _, kv := range l.env {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	host, port, _ := strings.Cut(l.ln.Addr().String(), ":")
	id, secret, bundle := env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], filepath.Join(l.folder, caFile)
	region := cmp.Or(a.getenv("AWS_REGION"), a.getenv("AWS_DEFAULT_REGION"), "REGION")
	if format == "athena-odbc" {
		fmt.Fprintf(a.errs, "Give programs this string for Amazon's ODBC driver, with what else it wants, such as Workgroup, and leave this running:\n\n")
		fmt.Fprintf(a.out, "DRIVER=Simba Amazon Athena ODBC Connector;AwsRegion=%s;AuthenticationType=IAM Credentials;UID=%s;PWD=%s;"+
			"UseProxy=1;ProxyScheme=http;ProxyHost=%s;ProxyPort=%s;TrustedCerts=%s\n", region, id, secret, host, port, bundle)
		return
	}
	fmt.Fprintf(a.errs, "Have Java trust this proxy, in a key store of your own:\n\n  keytool -noprompt -importcert -alias tsh -file %s -keystore FILE\n\n"+
		"Then give programs this URL for Amazon's JDBC driver, with what else it wants, such as Workgroup, and leave this running:\n\n", shellQuote(bundle))
	fmt.Fprintf(a.out, "jdbc:awsathena://AwsRegion=%s;User=%s;Password=%s;ProxyHost=%s;ProxyPort=%s\n", region, id, secret, host, port)
}
