package sshclient

import "golang.org/x/crypto/ssh"

// algorithms are those of sshserver.Algorithms, and for its reasons. The two
// ends share no code, so that neither drags the other along.
func algorithms() ssh.Config {
	return ssh.Config{
		KeyExchanges: []string{
			ssh.KeyExchangeMLKEM768X25519,
			ssh.KeyExchangeCurve25519,
			"ecdh-sha2-nistp256",
		},
		Ciphers: []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM},
		MACs:    []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM},
	}
}

// hostKeyAlgorithms are the certified host keys that are accepted, and bare ones
// where those are.
func hostKeyAlgorithms(bare bool) []string {
	list := []string{ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01}
	if bare {
		list = append(list, ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
	}
	return list
}
