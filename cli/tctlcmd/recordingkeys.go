package tctlcmd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"

	"teleport/api/authclient"
	"teleport/cli/output"
)

const recordingKeysLong = `Recordings are encrypted to a key of the cluster as they are made; auth opens them
with its private half for those who may read them. A new key is used by every
session that begins from then on. Keys from before stay, to open what was
recorded with them: nothing is encrypted anew.`

func (a *app) recordingKeys() *cobra.Command {
	c := &cobra.Command{Use: "encryption", Short: "See and rotate the keys of recordings", Long: recordingKeysLong}
	c.AddCommand(
		a.keysVerb("status", "List the keys that open recordings, the one in use first", (*authclient.Client).RecordingKeys),
		a.keysVerb("rotate", "Make a new key for recordings from now on", (*authclient.Client).RotateRecordingKeys))
	return c
}

// recordingKey is a key as people tell it from others.
type recordingKey struct {
	Fingerprint string `json:"fingerprint"`
	State       string `json:"state"` // in use, opens older recordings
	PublicKey   string `json:"public_key"`
}

func (a *app) keysVerb(name, short string, call func(*authclient.Client, context.Context) ([]string, error)) *cobra.Command {
	var show func(any, func() error) error
	c := a.verb(name, short, "  tctl recordings encryption "+name, cobra.NoArgs, func(ctx context.Context, api *authclient.Client, _ []string) error {
		public, err := call(api, ctx)
		if err != nil {
			return err
		}
		keys := make([]recordingKey, 0, len(public))
		for i, k := range public {
			sum := sha256.Sum256([]byte(k))
			state := "opens older recordings"
			if i == 0 {
				state = "in use"
			}
			keys = append(keys, recordingKey{"sha256:" + hex.EncodeToString(sum[:16]), state, k})
		}
		return show(keys, func() error {
			if len(keys) == 0 {
				fmt.Fprintln(a.Err, "This cluster keeps no recordings, and has no keys for them.")
				return nil
			}
			t := output.NewTable("Key", "State")
			for _, k := range keys {
				t.Row(k.Fingerprint, k.State)
			}
			return t.Write(a.Out, a.width())
		})
	})
	c.Long = short + ".\n\n" + recordingKeysLong
	show = a.formatFlag(c.Flags())
	return c
}
