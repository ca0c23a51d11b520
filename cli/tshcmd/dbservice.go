package tshcmd

import (
	"os"
	"path/filepath"

	"teleport/client/dbclient"
	"teleport/client/inifile"
	"teleport/client/profile"
	"teleport/fault"
)

// service is how programs know a database of a log-in.
func service(p *profile.Profile, db *profile.Database) (dbclient.Service, bool) {
	return dbclient.ServiceOf(db.Protocol, section(p, db.Name), installed)
}

// section names a database in files that all clusters share.
func section(p *profile.Profile, name string) string { return p.Cluster + "-" + name }

// serviceFiles are where programs look sections up: the file that their environment
// names comes first.
func (a *app) serviceFiles(svc dbclient.Service) ([]string, error) {
	var files []string
	if svc.Env != "" && a.getenv(svc.Env) != "" {
		files = append(files, a.getenv(svc.Env))
	}
	home := a.getenv("HOME")
	if home == "" {
		var err error
		if home, err = os.UserHomeDir(); err != nil {
			return files, fault.Wrap(err, fault.Invalid, "your home directory is not known")
		}
	}
	return append(files, filepath.Join(home, svc.File)), nil
}

// writeService writes the sections by which programs find a database.
func (a *app) writeService(s *session, db *profile.Database, svc dbclient.Service) error {
	lines, err := nativeTarget(s, db).ServiceLines(installed)
	if err != nil {
		return err
	}
	files, err := a.serviceFiles(svc)
	if err != nil {
		return err
	}
	return inifile.Edit(files[0], func(text []byte) []byte {
		for i, name := range svc.Sections {
			if len(lines[i]) == 0 {
				text = inifile.Drop(text, name)
			} else {
				text = inifile.Put(text, name, lines[i]...)
			}
		}
		return text
	})
}

// dropService removes them, wherever they were written.
func (a *app) dropService(p *profile.Profile, db *profile.Database) error {
	svc, ok := service(p, db)
	if !ok {
		return nil
	}
	files, err := a.serviceFiles(svc)
	if err != nil {
		return err
	}
	for _, f := range files {
		err := inifile.Edit(f, func(text []byte) []byte {
			for i := range svc.Sections { // the last was added last
				text = inifile.Drop(text, svc.Sections[len(svc.Sections)-1-i])
			}
			return text
		})
		if err != nil {
			return err
		}
	}
	return nil
}
