package rpc

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"teleport/api/gen/accessv1"
	"teleport/api/gen/accessv1/accessv1connect"
	"teleport/api/gen/accountv1"
	"teleport/api/gen/accountv1/accountv1connect"
	"teleport/api/gen/auditv1"
	"teleport/api/gen/auditv1/auditv1connect"
	"teleport/api/gen/issuev1"
	"teleport/api/gen/issuev1/issuev1connect"
	"teleport/api/gen/joinv1"
	"teleport/api/gen/joinv1/joinv1connect"
	"teleport/api/gen/loginv1"
	"teleport/api/gen/loginv1/loginv1connect"
	"teleport/api/gen/presencev1"
	"teleport/api/gen/presencev1/presencev1connect"
	"teleport/api/gen/recordingv1"
	"teleport/api/gen/recordingv1/recordingv1connect"
	"teleport/api/gen/resourcev1"
	"teleport/api/gen/resourcev1/resourcev1connect"
	"teleport/api/gen/statusv1"
	"teleport/api/gen/statusv1/statusv1connect"
	"teleport/types"
)

// Table maps a procedure ("/package.Service/Method") to its permission.
type Table map[string]Permission

// AccessTable is the one list of what the auth service's procedures ask of
// their callers. A procedure that is not here does not register.
func AccessTable() Table {
	return Table{
		statusv1connect.StatusServicePingProcedure:   Anonymous(),
		statusv1connect.StatusServiceStatusProcedure: Rule(types.KindClusterName, "read"),

		joinv1connect.JoinServiceChallengeProcedure: Anonymous(),
		joinv1connect.JoinServiceJoinProcedure:      Anonymous(),
		joinv1connect.JoinServiceRenewProcedure:     System(HostRoles()...),
		// The proof is the credential, and the host key signs.
		joinv1connect.JoinServiceJoinOpenSSHProcedure: Anonymous(),

		loginv1connect.LoginServiceLoginProcedure:           System(types.RoleProxy),
		loginv1connect.LoginServiceStartWebSessionProcedure: System(types.RoleProxy),
		loginv1connect.LoginServiceUseWebSessionProcedure:   System(types.RoleProxy),
		loginv1connect.LoginServiceCheckWebSessionProcedure: System(types.RoleProxy),
		loginv1connect.LoginServiceEndWebSessionProcedure:   System(types.RoleProxy),
		// An app's session is its browser's, whose bearer the proxy shows.
		loginv1connect.LoginServiceStartAppSessionProcedure: System(types.RoleProxy),
		loginv1connect.LoginServiceOpenAppSessionProcedure:  System(types.RoleProxy),
		loginv1connect.LoginServiceUseAppSessionProcedure:   System(types.RoleProxy),
		loginv1connect.LoginServiceEndAppSessionProcedure:   System(types.RoleProxy),
		loginv1connect.LoginServiceGetInviteProcedure:       System(types.RoleProxy),
		loginv1connect.LoginServiceAcceptInviteProcedure:    System(types.RoleProxy),

		issuev1connect.IssueServiceReissueProcedure: AnyUser(),
		// Signing for somebody else is the local administrator's alone.
		issuev1connect.IssueServiceSignUserProcedure:     System(types.RoleAdmin),
		issuev1connect.IssueServiceSignHostProcedure:     System(types.RoleAdmin),
		issuev1connect.IssueServiceSignDatabaseProcedure: System(types.RoleAdmin),
		// A proxy enters servers without an agent for users whose certificate it shows.
		issuev1connect.IssueServiceOpenSSHProcedure: System(types.RoleProxy),
		issuev1connect.IssueServiceBridgeProcedure:  System(types.RoleProxy),
		// An agent logs in to databases that it fronts for users whose certificate it shows.
		issuev1connect.IssueServiceBridgeTLSProcedure: System(types.RoleProxy),
		issuev1connect.IssueServiceDatabaseProcedure:  System(types.RoleDb),
		// An agent tells apps that it fronts who a user is whose certificate it shows.
		issuev1connect.IssueServiceAppTokenProcedure: System(types.RoleApp),

		accountv1connect.AccountServiceInviteUserProcedure:  Rule(types.KindUser, "create"),
		accountv1connect.AccountServiceResetUserProcedure:   Rule(types.KindUser, "update"),
		accountv1connect.AccountServiceCreateTokenProcedure: Rule(types.KindToken, "create"),
		accountv1connect.AccountServiceDeleteTokenProcedure: Rule(types.KindToken, "delete"),
		accountv1connect.AccountServiceWhoAmIProcedure:      AnyUser(),

		// Explain is open to whoever may read users, and to everybody about themselves.
		accessv1connect.AccessServiceExplainProcedure: Resource("read"),
		accessv1connect.AccessServicePlanProcedure:    Rule(types.KindRole, "list"),

		resourcev1connect.ResourceServiceGetProcedure:    Resource("read"),
		resourcev1connect.ResourceServiceListProcedure:   Resource("list"),
		resourcev1connect.ResourceServicePutProcedure:    Resource("update"),
		resourcev1connect.ResourceServiceDeleteProcedure: Resource("delete"),
		resourcev1connect.ResourceServiceWatchProcedure:  Resource("list"),

		presencev1connect.PresenceServiceControlProcedure: System(HostRoles()...),
		// A process counts the connections that it carries itself.
		presencev1connect.PresenceServiceHoldConnectionsProcedure:    System(types.RoleNode, types.RoleProxy),
		presencev1connect.PresenceServiceReleaseConnectionsProcedure: System(types.RoleNode, types.RoleProxy),

		auditv1connect.AuditServiceShipProcedure:   System(HostRoles()...),
		auditv1connect.AuditServiceSearchProcedure: Rule("event", "list"),
		auditv1connect.AuditServiceExportProcedure: Rule("event", "read"),
		auditv1connect.AuditServiceHeadProcedure:   Rule("event", "read"),

		// A process sends its own recordings only; the handler compares its UUID.
		recordingv1connect.RecordingServiceAppendProcedure:   System(HostRoles()...),
		recordingv1connect.RecordingServiceHeldProcedure:     System(HostRoles()...),
		recordingv1connect.RecordingServiceCompleteProcedure: System(HostRoles()...),
		recordingv1connect.RecordingServiceListProcedure:     Resource("list"),
		recordingv1connect.RecordingServicePlayProcedure:     Resource("read"),
		recordingv1connect.RecordingServiceFetchProcedure:    Resource("read"),
		recordingv1connect.RecordingServiceSearchProcedure:   Resource("read"),

		recordingv1connect.RecordingServiceListKeysProcedure:   Resource("read"),
		recordingv1connect.RecordingServiceRotateKeysProcedure: Resource("update"),
	}
}

// HostRoles are the roles of processes that hold a control stream, renew their
// certificates and ship events. Admin and Bot are not among them.
func HostRoles() []types.SystemRole {
	return []types.SystemRole{types.RoleAuth, types.RoleProxy, types.RoleNode, types.RoleKube,
		types.RoleApp, types.RoleDb, types.RoleDesktop, types.RoleDiscover, types.RoleInstance}
}

// Files lists the schemas of the API, for tests that enumerate what must be in
// the table and for tools that print it.
func Files() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{
		accessv1.File_teleport_access_v1_access_proto,
		accountv1.File_teleport_account_v1_account_proto,
		auditv1.File_teleport_audit_v1_audit_proto,
		issuev1.File_teleport_issue_v1_issue_proto,
		joinv1.File_teleport_join_v1_join_proto,
		loginv1.File_teleport_login_v1_login_proto,
		presencev1.File_teleport_presence_v1_presence_proto,
		recordingv1.File_teleport_recording_v1_recording_proto,
		resourcev1.File_teleport_resource_v1_resource_proto,
		statusv1.File_teleport_status_v1_status_proto,
	}
}

// Procedure is the table's key of a method: "/package.Service/Method".
func Procedure(m protoreflect.MethodDescriptor) string {
	return "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
}
