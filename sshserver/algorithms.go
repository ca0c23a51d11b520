package sshserver

import "golang.org/x/crypto/ssh"

// Algorithms returns the server's algorithms in order of preference; sshclient
// has the same list, which a test there compares. AES-GCM is first for speed and alone for safety: the ciphers that
// sequence-number manipulation (CVE-2023-48795) reaches are not offered, so no
// peer can be talked out of strict key exchange into one of them.
func Algorithms() ssh.Config {
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

// UserKeyAlgorithms are the signature algorithms that a user may prove a
// certified key with. Security-key algorithms are absent: a touch is proved by
// a ceremony of auth, not here.
func UserKeyAlgorithms() []string {
	return []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
}
