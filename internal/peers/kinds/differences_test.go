package kinds

import "regexp"

// difference is one that stays, with its reason. Kind and what are "" for all; place is a regular expression for what
// a report counts by.
type difference struct{ kind, what, place, reason string }

var differences = []difference{
	{"Pod", "prepare for create", `^\.status\.qosClass: unequal$`,
		"Kubernetes keeps the class that a creator sends, which kubelets then believe; here it is always worked out"},
	{"Deployment", "", `^\.spec\.strategy\.rollingUpdate\.max(Surge|Unavailable): only theirs has it$`,
		"Kubernetes' internal type has no such thing as unset: beside type Recreate, where rollingUpdate is refused anyway, it becomes 0"},
	{"", "", `^only theirs: spec\.(template\.spec\.)?securityContext\.seLinuxChangePolicy \| Unsupported value$`,
		"SELinuxMount is on in v1.37: MountOption may be asked for"},
	{"", "", `^only theirs: metadata\.finalizers \| Invalid value$`,
		"the server leaves the form of finalizers alone once an object is being deleted: none may be added then"},
	{"CSIDriver", "", `^\.spec\.preventPodSchedulingIfMissing: only ours has it$`,
		"VolumeLimitScaling is beta in v1.37: the field has a default"},
	{"CSIDriver", "prepare for update", `^\.metadata\.generation: only theirs has it$`,
		"as above: theirs sees a field that was set and now isn't"},
	{"VolumeAttachment", "", `^\.spec\.source\.inlineVolumeSpec\.(hostPath|azureDisk|rbd|scaleIO|iscsi|capacity)`,
		"an inline volume must be a CSI driver's: what has another source, or a capacity, is refused, whatever its defaults"},
	{"VolumeAttachment", "", `^only theirs: spec\.source\.inlineVolumeSpec\.(hostPath|persistentDisk|awsElasticBlockStore|glusterfs|flocker|nfs|rbd|quobyte|cephfs|iscsi|cinder|fc|flexVolume|azureFile|vsphereVolume|photonPersistentDisk|portworxVolume|azureDisk|scaleIO|local|storageos|nodeAffinity)`,
		"as above: it is refused for having more than one source, and the others' fields aren't judged"},
}

func known(kind, what, key string) string {
	for _, d := range differences {
		if (d.kind == "" || d.kind == kind) && (d.what == "" || d.what == what) && regexp.MustCompile(d.place).MatchString(key) {
			return d.reason
		}
	}
	return ""
}
