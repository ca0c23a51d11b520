package teleportcmd

import (
	"os"
	"strings"
	"testing"

	"teleport/cli/output"
)

func TestTheUnitBringsTheProcessBack(t *testing.T) {
	var out, errs strings.Builder
	if code := Run(t.Context(), []string{"install", "systemd", "-c", "/etc/t.yaml", "--pid-file=/run/t.pid", "--fd-limit=9"}, Streams{Out: &out, Err: &errs}); code != output.ExitOK {
		t.Fatalf("%d: %s", code, errs.String())
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Type=notify", "NotifyAccess=all", "Restart=always", "StartLimitIntervalSec=0", "TimeoutStartSec=infinity",
		"RestartPreventExitStatus=2 3 4", "KillMode=process", "ExecReload=/bin/kill -HUP $MAINPID", "LimitNOFILE=9",
		"ExecStart=" + exe + " start --config /etc/t.yaml --pid-file=/run/t.pid"} {
		if !strings.Contains("\n"+out.String(), "\n"+want+"\n") {
			t.Errorf("the unit does not say %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "%!") {
		t.Errorf("the unit is misprinted:\n%s", out.String())
	}
}
