package config

import (
	"teleport/fault"
	"teleport/types"
)

// settings turns the auth section's values into the three settings documents.
// A kind of which the file says anything has its origin in the file: the API
// refuses to change it.
func settings(a *Auth, in AuthService) error {
	pref := &types.AuthPreference{Header: header(types.KindAuthPreference, "cluster-auth-preference")}
	s := in.Authentication
	pref.Spec = types.AuthPreferenceSpec{
		Type: s.Type, SecondFactors: s.SecondFactors, SecondFactor: s.SecondFactor,
		LockingMode: s.LockingMode, DefaultSessionTTL: s.DefaultSessionTTL,
		MessageOfTheDay: in.MessageOfTheDay, SignatureAlgorithmSuite: s.SignatureSuite,
		DisconnectExpiredCert: in.DisconnectExpiredCert.Or(false),
	}
	said := s.Type != "" || len(s.SecondFactors) > 0 || s.SecondFactor != "" || s.LockingMode != "" || s.DefaultSessionTTL != 0 ||
		s.SignatureSuite != "" || in.MessageOfTheDay != "" || in.DisconnectExpiredCert.Said() || s.LocalAuth.Said()
	if s.LocalAuth.Said() {
		v := s.LocalAuth.Or(true)
		pref.Spec.AllowLocalAuth = &v
	}
	a.Preference = pref
	a.origin(pref.Head(), said)

	net := &types.NetworkingConfig{Header: header(types.KindNetworkingConfig, "cluster-networking-config")}
	net.Spec = types.NetworkingConfigSpec{
		ClientIdleTimeout: in.ClientIdleTimeout, IdleTimeoutMessage: in.IdleTimeoutMessage, WebIdleTimeout: in.WebIdleTimeout,
		KeepAliveInterval: in.KeepAliveInterval, KeepAliveCountMax: in.KeepAliveCountMax, SessionControlTimeout: in.SessionControlTimeout, RoutingStrategy: in.RoutingStrategy,
		CaseInsensitiveRouting: in.CaseInsensitive.Or(false), SSHDialTimeout: in.SSHDialTimeout,
	}
	switch in.ProxyListenerMode {
	case "", "multiplex":
		net.Spec.ProxyListenerMode = 1
	default:
		return fault.New(fault.Invalid, "proxy_listener_mode %q: this version has multiplex only", in.ProxyListenerMode)
	}
	a.Networking = net
	a.origin(net.Head(), in.ClientIdleTimeout != 0 || in.IdleTimeoutMessage != "" || in.WebIdleTimeout != 0 || in.KeepAliveInterval != 0 ||
		in.KeepAliveCountMax != 0 || in.SessionControlTimeout != 0 || in.RoutingStrategy != "" || in.CaseInsensitive.Said() || in.SSHDialTimeout != 0)

	rec := &types.RecordingConfig{Header: header(types.KindRecordingConfig, "session-recording-config")}
	rec.Spec.Mode = in.SessionRecording
	a.Recording = rec
	a.origin(rec.Head(), in.SessionRecording != "")
	for _, doc := range []types.Resource{pref, net, rec} {
		if err := doc.Validate(); err != nil {
			return fault.Wrap(err, fault.Invalid, "auth_service: %s", fault.Message(err))
		}
	}
	return nil
}

func header(kind, name string) types.Header {
	return types.Header{Kind: kind, Version: "v2", Metadata: types.Metadata{Name: name}}
}

// origin labels a settings document with where its values come from.
func (a *Auth) origin(h *types.Header, said bool) {
	origin := "defaults"
	if said {
		origin = types.OriginFile
		a.FileOrigin = append(a.FileOrigin, h.Kind)
	}
	h.Metadata.Labels = map[string]string{types.OriginLabel: origin}
}
