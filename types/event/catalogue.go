package event

// Entry is one event type of the catalogue.
type Entry struct {
	Type  string
	Codes []string
	// AuthOnly events are about what only the auth service does: it takes them
	// from nobody else, so that a stolen agent cannot write them.
	AuthOnly bool
	// New returns an empty event of the type.
	New func() Event
}

func entry[T any, P interface {
	*T
	Event
}](typ string, codes ...string) Entry {
	return Entry{Type: typ, Codes: codes, New: func() Event { return P(new(T)) }}
}

func authOnly[T any, P interface {
	*T
	Event
}](typ string, codes ...string) Entry {
	e := entry[T, P](typ, codes...)
	e.AuthOnly = true
	return e
}

// Catalogue returns every event type, in the order of the documentation.
// Codes that begin with TX are our own; all others are those that users of
// such a system know. A code is used by one type only.
func Catalogue() []Entry {
	return []Entry{
		authOnly[UserLogin](TypeUserLogin, CodeUserLogin, CodeUserLoginFail),
		authOnly[UserLogout](TypeUserLogout, CodeUserLogout),
		authOnly[UserLockout](TypeUserLockout, CodeUserLockout),
		authOnly[UserTokenUse](TypeUserTokenUse, CodeUserTokenUse, CodeUserTokenFail),
		authOnly[UserCreate](TypeUserCreate, CodeUserCreate),
		authOnly[UserUpdate](TypeUserUpdate, CodeUserUpdate),
		authOnly[UserDelete](TypeUserDelete, CodeUserDelete),
		authOnly[PasswordChange](TypePasswordChange, CodePasswordChange),
		authOnly[MFAAdd](TypeMFAAdd, CodeMFAAdd),
		authOnly[MFADelete](TypeMFADelete, CodeMFADelete),
		authOnly[ResetToken](TypeResetToken, CodeResetToken),
		entry[AuthFail](TypeAuth, CodeAuthFail),
		authOnly[CertCreate](TypeCertCreate, CodeCertCreate),
		entry[AccessDenied](TypeAccessDenied, CodeAccessDenied),
		authOnly[InstanceJoin](TypeInstanceJoin, CodeInstanceJoin, CodeInstanceJoinFail),
		authOnly[InstanceClone](TypeInstanceClone, CodeInstanceClone),
		authOnly[InstanceRefused](TypeInstanceRefused, CodeInstanceRefused),
		authOnly[JoinTokenCreate](TypeJoinTokenCreate, CodeJoinTokenCreate),
		entry[SessionStart](TypeSessionStart, CodeSessionStart),
		entry[SessionEnd](TypeSessionEnd, CodeSessionEnd),
		authOnly[SessionUpload](TypeSessionUpload, CodeSessionUpload),
		authOnly[RecordingAccess](TypeRecordingAccess, CodeRecordingAccess),
		entry[RecordingGap](TypeRecordingGap, CodeRecordingGap, CodeRecordingGapEnd),
		entry[RecordingBroken](TypeRecordingBroken, CodeRecordingBroken),
		entry[SessionJoin](TypeSessionJoin, CodeSessionJoin),
		entry[SessionLeave](TypeSessionLeave, CodeSessionLeave),
		entry[SessionPause](TypeSessionPause, CodeSessionPause, CodeSessionPauseEnd),
		entry[SessionData](TypeSessionData, CodeSessionData),
		entry[SessionConnect](TypeSessionConnect, CodeSessionConnect),
		entry[SessionRejected](TypeSessionRejected, CodeSessionRejected),
		entry[SessionDetach](TypeSessionDetach, CodeSessionDetach, CodeSessionDetachEnd),
		entry[SessionAttach](TypeSessionAttach, CodeSessionAttach, CodeSessionAttachNo),
		entry[Resize](TypeResize, CodeResize),
		entry[Exec](TypeExec, CodeExec, CodeExecFail),
		entry[Subsystem](TypeSubsystem, CodeSubsystem, CodeSubsystemFail),
		entry[Port](TypePort, CodePortStart, CodePortStop, CodePortFail),
		entry[AgentForward](TypeAgentForward, CodeAgentForward, CodeAgentForwardFail),
		entry[X11Forward](TypeX11Forward, CodeX11Forward, CodeX11ForwardFail),
		entry[ClientDisconnect](TypeClientDisconnect, CodeClientDisconnect),
		entry[SCP](TypeSCP, CodeSCPDownload, CodeSCPDownloadFail, CodeSCPUpload, CodeSCPUploadFail, CodeSCPForbidden),
		entry[SFTP](TypeSFTP, CodeSFTPOpen, CodeSFTPOpenFail, CodeSFTPSetstat, CodeSFTPSetstatFail,
			CodeSFTPOpendir, CodeSFTPOpendirFail, CodeSFTPReaddir, CodeSFTPReaddirFail, CodeSFTPRemove,
			CodeSFTPRemoveFail, CodeSFTPMkdir, CodeSFTPMkdirFail, CodeSFTPRmdir, CodeSFTPRmdirFail,
			CodeSFTPRename, CodeSFTPRenameFail, CodeSFTPSymlink, CodeSFTPSymlinkFail, CodeSFTPLink,
			CodeSFTPLinkFail, CodeSFTPForbidden),
		entry[SFTPSummary](TypeSFTPSummary, CodeSFTPSummary),
		entry[DBStart](TypeDBStart, CodeDBStart, CodeDBStartFail),
		entry[DBEnd](TypeDBEnd, CodeDBEnd),
		entry[DBUserCreate](TypeDBUserCreate, CodeDBUserCreate, CodeDBUserCreateFail),
		entry[DBUserEnd](TypeDBUserEnd, CodeDBUserEnd, CodeDBUserEndFail),
		entry[DBQuery](TypeDBQuery, CodeDBQuery),
		entry[DBQueryFail](TypeDBQueryFail, CodeDBQueryFail),
		entry[DBResult](TypeDBResult, CodeDBResult, CodeDBResultFail),
		entry[DBMalformed](TypeDBMalformed, CodeDBMalformed),
		entry[PostgresParse](TypePostgresParse, CodePostgresParse),
		entry[PostgresBind](TypePostgresBind, CodePostgresBind),
		entry[PostgresExecute](TypePostgresExecute, CodePostgresExecute),
		entry[PostgresClose](TypePostgresClose, CodePostgresClose),
		entry[PostgresFunction](TypePostgresFunction, CodePostgresFunction),
		entry[MySQLPrepare](TypeMySQLPrepare, CodeMySQLPrepare),
		entry[MySQLExecute](TypeMySQLExecute, CodeMySQLExecute),
		entry[MySQLLongData](TypeMySQLLongData, CodeMySQLLongData),
		entry[MySQLClose](TypeMySQLClose, CodeMySQLClose),
		entry[MySQLReset](TypeMySQLReset, CodeMySQLReset),
		entry[MySQLFetch](TypeMySQLFetch, CodeMySQLFetch),
		entry[MySQLInitDB](TypeMySQLInitDB, CodeMySQLInitDB, CodeMySQLInitFail),
		entry[MySQLCreateDB](TypeMySQLCreateDB, CodeMySQLCreateDB),
		entry[MySQLDropDB](TypeMySQLDropDB, CodeMySQLDropDB),
		entry[MySQLShutDown](TypeMySQLShutDown, CodeMySQLShutDown),
		entry[MySQLKill](TypeMySQLKill, CodeMySQLKill),
		entry[MySQLDebug](TypeMySQLDebug, CodeMySQLDebug),
		entry[MySQLRefresh](TypeMySQLRefresh, CodeMySQLRefresh),
		entry[DynamoDBRequest](TypeDynamoDBRequest, CodeDynamoDBRequest, CodeDynamoDBRequestFail),
		entry[AppStart](TypeAppStart, CodeAppStart, CodeAppStartFail),
		entry[AppChunk](TypeAppChunk, CodeAppChunk),
		entry[AppRequest](TypeAppRequest, CodeAppRequest, CodeAppRequestFail),
		entry[AppEnd](TypeAppEnd, CodeAppEnd),
		authOnly[AppCreate](TypeAppCreate, CodeAppCreate),
		authOnly[AppUpdate](TypeAppUpdate, CodeAppUpdate),
		authOnly[AppDelete](TypeAppDelete, CodeAppDelete),
		authOnly[LockCreated](TypeLockCreated, CodeLockCreated),
		authOnly[LockDeleted](TypeLockDeleted, CodeLockDeleted),
		authOnly[RoleCreated](TypeRoleCreated, CodeRoleCreated),
		authOnly[RoleUpdated](TypeRoleUpdated, CodeRoleUpdated),
		authOnly[RoleDeleted](TypeRoleDeleted, CodeRoleDeleted),
		authOnly[AuthPrefUpdate](TypeAuthPrefUpdate, CodeAuthPrefUpdate),
		authOnly[NetConfigUpdate](TypeNetConfigUpdate, CodeNetConfigUpdate),
		authOnly[RecConfigUpdate](TypeRecConfigUpdate, CodeRecConfigUpdate),
		authOnly[ResourceCreated](TypeResourceCreated, CodeResourceCreated),
		authOnly[ResourceUpdated](TypeResourceUpdated, CodeResourceUpdated),
		authOnly[ResourceDeleted](TypeResourceDeleted, CodeResourceDeleted),
		authOnly[CACreated](TypeCACreated, CodeCACreated),
		authOnly[CAExported](TypeCAExported, CodeCAExported),
		authOnly[AuditGap](TypeAuditGap, CodeAuditGap),
		authOnly[AuditFork](TypeAuditFork, CodeAuditFork),
		entry[AuditRefused](TypeAuditRefused, CodeAuditRefused),
		entry[AuditLost](TypeAuditLost, CodeAuditLost),
		entry[AuditRecovered](TypeAuditRecovered, CodeAuditRecovered),
		authOnly[AuditCut](TypeAuditCut, CodeAuditCut),
		authOnly[AuditExport](TypeAuditExport, CodeAuditExport),
		authOnly[AuditPrune](TypeAuditPrune, CodeAuditPrune),
		authOnly[AuditCheckpointConflict](TypeAuditConflict, CodeAuditConflict),
	}
}
