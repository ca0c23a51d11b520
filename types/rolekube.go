package types

import "slices"

// checkKubernetes holds kubernetes_resources to the rules of the role's version:
// up to v6 pods without verbs, in v7 a closed list of singular kinds, from v8 on
// any plural kind with its API group.
func (c *RoleConditions) checkKubernetes(version, path string) error {
	for i := range c.KubernetesResources {
		r, p := &c.KubernetesResources[i], IndexPath(path, i)
		if r.Kind == "" {
			return fieldFault(p+".kind", "is missing")
		}
		if err := r.checkKind(version, p); err != nil {
			return err
		}
		if version < V7 && len(r.Verbs) > 0 {
			return fieldFault(p+".verbs", "needs a role of version v7 or later")
		}
		for j, v := range r.Verbs {
			if err := oneOf(IndexPath(p+".verbs", j), v, kubeVerbs()...); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *KubernetesResource) checkKind(version, p string) error {
	switch {
	case version < V7 && r.Kind != "pod":
		return fieldFault(p+".kind", "roles of version %s know only the kind pod", version)
	case version < V8 && r.APIGroup != "":
		return fieldFault(p+".api_group", "needs a role of version v8 or later")
	case version == V7:
		if err := oneOf(p+".kind", r.Kind, kubeKindsV7()...); err != nil {
			return err
		}
		if r.Namespace == "" && !slices.Contains(kubeClusterKindsV7(), r.Kind) {
			return fieldFault(p+".namespace", "is missing; \"*\" is every namespace")
		}
	case version >= V8:
		if r.Kind == Wildcard && r.APIGroup == "" {
			return fieldFault(p+".api_group", "is required for the kind \"*\"").WithHint("api_group: \"*\" is every group")
		}
		if r.Kind != Wildcard && r.APIGroup == "" && slices.Contains(kubeKindsV7(), r.Kind) {
			return fieldFault(p+".kind", "roles of version %s use plural kinds with an api_group, this is the singular %q", version, r.Kind)
		}
	}
	if r.Name == "" {
		r.Name = Wildcard
	}
	return nil
}

func kubeKindsV7() []string {
	return []string{Wildcard, "pod", "secret", "configmap", "namespace", "service", "serviceaccount", "kube_node", "persistentvolume",
		"persistentvolumeclaim", "deployment", "replicaset", "statefulset", "daemonset", "clusterrole", "kube_role",
		"clusterrolebinding", "rolebinding", "cronjob", "job", "certificatesigningrequest", "ingress"}
}

// kubeClusterKindsV7 lists the kinds that live in no namespace.
func kubeClusterKindsV7() []string {
	return []string{"namespace", "kube_node", "persistentvolume", "clusterrole", "clusterrolebinding", "certificatesigningrequest"}
}

func kubeVerbs() []string {
	return []string{Wildcard, "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "exec", "portforward"}
}
