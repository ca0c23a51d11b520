package event

// Types and codes about copied and remotely handled files.
const (
	TypeSCP             = "scp"
	CodeSCPDownload     = "T3004I"
	CodeSCPDownloadFail = "T3004E"
	CodeSCPUpload       = "T3005I"
	CodeSCPUploadFail   = "T3005E"
	CodeSCPForbidden    = "T3010E"

	TypeSFTP            = "sftp"
	CodeSFTPOpen        = "TS001I"
	CodeSFTPOpenFail    = "TS001E"
	CodeSFTPSetstat     = "TS007I"
	CodeSFTPSetstatFail = "TS007E"
	CodeSFTPOpendir     = "TS009I"
	CodeSFTPOpendirFail = "TS009E"
	CodeSFTPReaddir     = "TS010I"
	CodeSFTPReaddirFail = "TS010E"
	CodeSFTPRemove      = "TS011I"
	CodeSFTPRemoveFail  = "TS011E"
	CodeSFTPMkdir       = "TS012I"
	CodeSFTPMkdirFail   = "TS012E"
	CodeSFTPRmdir       = "TS013I"
	CodeSFTPRmdirFail   = "TS013E"
	CodeSFTPRename      = "TS016I"
	CodeSFTPRenameFail  = "TS016E"
	CodeSFTPSymlink     = "TS018I"
	CodeSFTPSymlinkFail = "TS018E"
	CodeSFTPLink        = "TS019I"
	CodeSFTPLinkFail    = "TS019E"
	CodeSFTPForbidden   = "TS020E"
	TypeSFTPSummary     = "sftp_summary"
	CodeSFTPSummary     = "TS021I"
)

// Actions of an SFTP event; the number is also in its code.
const (
	SFTPOpen    = 1
	SFTPSetstat = 7
	SFTPOpendir = 9
	SFTPReaddir = 10
	SFTPRemove  = 11
	SFTPMkdir   = 12
	SFTPRmdir   = 13
	SFTPRename  = 16
	SFTPSymlink = 18
	SFTPLink    = 19
	SFTPDenied  = 20
)

// SCP is one transfer by the scp protocol.
type SCP struct {
	Meta
	User
	Session
	Server
	Connection
	Command
	Path   string `json:"path" class:"sensitive"`
	Action string `json:"action" class:"public"` // upload, download
	Length int64  `json:"len,omitempty" class:"public"`
}

// SFTP is one operation of an SFTP session. SFTPCode maps action and outcome
// to its code.
type SFTP struct {
	Meta
	User
	Session
	Server
	Connection
	Action     int    `json:"action" class:"public"`
	Path       string `json:"path" class:"sensitive"`
	TargetPath string `json:"target_path,omitempty" class:"sensitive"` // rename, symlink, link
	WorkingDir string `json:"working_directory,omitempty" class:"sensitive"`
	Flags      uint32 `json:"flags,omitempty" class:"public"` // of open, as in the protocol
	Error      string `json:"error,omitempty" class:"sensitive"`
}

// SFTPCode returns the code of an action and its outcome, or "" for an action
// that is not in the list.
func SFTPCode(action int, ok bool) string {
	codes := map[int][2]string{
		SFTPOpen:    {CodeSFTPOpenFail, CodeSFTPOpen},
		SFTPSetstat: {CodeSFTPSetstatFail, CodeSFTPSetstat},
		SFTPOpendir: {CodeSFTPOpendirFail, CodeSFTPOpendir},
		SFTPReaddir: {CodeSFTPReaddirFail, CodeSFTPReaddir},
		SFTPRemove:  {CodeSFTPRemoveFail, CodeSFTPRemove},
		SFTPMkdir:   {CodeSFTPMkdirFail, CodeSFTPMkdir},
		SFTPRmdir:   {CodeSFTPRmdirFail, CodeSFTPRmdir},
		SFTPRename:  {CodeSFTPRenameFail, CodeSFTPRename},
		SFTPSymlink: {CodeSFTPSymlinkFail, CodeSFTPSymlink},
		SFTPLink:    {CodeSFTPLinkFail, CodeSFTPLink},
		SFTPDenied:  {CodeSFTPForbidden, CodeSFTPForbidden},
	}
	pair := codes[action]
	if ok {
		return pair[1]
	}
	return pair[0]
}

// SFTPFile is the total of one file within an SFTP session.
type SFTPFile struct {
	Path         string `json:"path"`
	BytesRead    uint64 `json:"bytes_read,omitempty"`
	BytesWritten uint64 `json:"bytes_written,omitempty"`
}

// SFTPSummary closes an SFTP session with the totals of each file.
type SFTPSummary struct {
	Meta
	User
	Session
	Server
	Connection
	Files []SFTPFile `json:"file_transfer_stats" class:"sensitive"`
}
