package tshcmd

import (
	"os"
	"path/filepath"

	"teleport/client/dbclient"
	"teleport/client/inifile"
	"teleport/client/profile"
	"teleport/fault"
)

// serviceFiles are where programs of a protocol look for sections: the file that
// their environment names comes first.
func (a *app) serviceFiles(protocol string) ([]string, error) {
	name := dbclient.ServiceFile(protocol)
	if name == "" {
		return nil, nil
	}
	var files []string
	if named := a.getenv("PGSERVICEFILE"); named != "" && dbclient.Postgres(protocol) {
		files = append(files, named)
	}
	home := a.getenv("HOME")
	if home == "" {
		var err error
		if home, err = os.UserHomeDir(); err != nil {
			return files, fault.Wrap(err, fault.Invalid, "your home directory is not known")
		}
	}
	return append(files, filepath.Join(home, name)), nil
}

// writeService writes the section by which programs find a database.
func (a *app) writeService(s *session, db *profile.Database) error {
	lines, err := nativeTarget(s, db).ServiceSection()
	if err != nil {
		return err
	}
	files, err := a.serviceFiles(db.Protocol)
	if err != nil {
		return err
	}
	return inifile.Edit(files[0], func(text []byte) []byte { return inifile.Put(text, section(s, db.Name), lines...) })
}

// dropService removes it, wherever it was written.
func (a *app) dropService(p *profile.Profile, db *profile.Database) error {
	files, err := a.serviceFiles(db.Protocol)
	if err != nil {
		return err
	}
	for _, f := range files {
		name := p.Cluster + "-" + db.Name
		if err := inifile.Edit(f, func(text []byte) []byte { return inifile.Drop(text, name) }); err != nil {
			return err
		}
	}
	return nil
}
