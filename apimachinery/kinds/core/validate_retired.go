package core

import (
	"net"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// retiredSources judges the types between hostPath and projected in the order of the API. Most were served by drivers
// that Kubernetes no longer has; their objects are still accepted.
func (v *podValidator) retiredSources(vol *corev1.Volume, at *field.Path, one func(set bool, name string, elsewhere ...string) bool) {
	s := &vol.VolumeSource
	v.cloudDisks(vol, at, one)
	if one(s.PersistentVolumeClaim != nil, "persistentVolumeClaim") {
		v.required(s.PersistentVolumeClaim.ClaimName, at.Child("persistentVolumeClaim", "claimName"))
	}
	v.clusterDisks(vol, at, one)
	if one(s.AzureFile != nil, "azureFile") {
		v.required(s.AzureFile.SecretName, at.Child("azureFile", "secretName"))
		v.required(s.AzureFile.ShareName, at.Child("azureFile", "shareName"))
	}
	if one(s.VsphereVolume != nil, "vsphereVolume") {
		v.required(s.VsphereVolume.VolumePath, at.Child("vsphereVolume", "volumePath"))
	}
	if one(s.PhotonPersistentDisk != nil, "photonPersistentDisk") {
		v.required(s.PhotonPersistentDisk.PdID, at.Child("photonPersistentDisk", "pdID"))
	}
	if one(s.PortworxVolume != nil, "portworxVolume") {
		v.required(s.PortworxVolume.VolumeID, at.Child("portworxVolume", "volumeID"))
	}
	if one(s.AzureDisk != nil, "azureDisk") {
		v.azureDisk(s.AzureDisk, at.Child("azureDisk"))
	}
	if one(s.StorageOS != nil, "storageos") {
		v.storageOS(s.StorageOS, at.Child("storageos"))
	}
}

func (v *podValidator) cloudDisks(vol *corev1.Volume, at *field.Path, one func(set bool, name string, elsewhere ...string) bool) {
	s := &vol.VolumeSource
	if one(s.GitRepo != nil, "gitRepo") {
		v.required(s.GitRepo.Repository, at.Child("gitRepo", "repository"))
		v.add(validateLocalPath(s.GitRepo.Directory, at.Child("gitRepo", "directory"))...)
	}
	if one(s.GCEPersistentDisk != nil, "gcePersistentDisk") {
		v.required(s.GCEPersistentDisk.PDName, at.Child("persistentDisk", "pdName"))
		v.partition(s.GCEPersistentDisk.Partition, at.Child("persistentDisk", "partition"))
	}
	if one(s.AWSElasticBlockStore != nil, "awsElasticBlockStore") {
		v.required(s.AWSElasticBlockStore.VolumeID, at.Child("awsElasticBlockStore", "volumeID"))
		v.partition(s.AWSElasticBlockStore.Partition, at.Child("awsElasticBlockStore", "partition"))
	}
	if one(s.Secret != nil, "secret") {
		v.required(s.Secret.SecretName, at.Child("secret", "secretName"))
		v.mode(s.Secret.DefaultMode, at.Child("secret", "defaultMode"))
		v.items(s.Secret.Items, at.Child("secret", "items"))
	}
	if one(s.NFS != nil, "nfs") {
		v.nfs(s.NFS, at.Child("nfs"))
	}
	if one(s.ISCSI != nil, "iscsi") {
		v.iscsi(s.ISCSI, at.Child("iscsi"))
	}
	if s.ISCSI != nil && s.ISCSI.InitiatorName != nil && len(vol.Name+":"+s.ISCSI.TargetPortal) > 64 {
		v.invalid(at.Child("name"), vol.Name, "the volume's name, a colon and iscsi.targetPortal must be no more than 64 characters together if iscsi.initiatorName is specified")
	}
	if one(s.Glusterfs != nil, "glusterfs") {
		v.required(s.Glusterfs.EndpointsName, at.Child("glusterfs", "endpoints"))
		v.required(s.Glusterfs.Path, at.Child("glusterfs", "path"))
	}
	if one(s.Flocker != nil, "flocker") {
		v.flocker(s.Flocker, at.Child("flocker"))
	}
}

func (v *podValidator) clusterDisks(vol *corev1.Volume, at *field.Path, one func(set bool, name string, elsewhere ...string) bool) {
	s := &vol.VolumeSource
	if one(s.RBD != nil, "rbd") {
		v.requiredList(s.RBD.CephMonitors, at.Child("rbd", "monitors"))
		v.required(s.RBD.RBDImage, at.Child("rbd", "image"))
	}
	if one(s.Cinder != nil, "cinder") {
		v.required(s.Cinder.VolumeID, at.Child("cinder", "volumeID"))
		v.secretRef(s.Cinder.SecretRef, at.Child("cinder", "secretRef"))
	}
	if one(s.CephFS != nil, "cephfs", "cephFS") {
		v.requiredList(s.CephFS.Monitors, at.Child("cephfs", "monitors"))
	}
	if one(s.Quobyte != nil, "quobyte") {
		v.quobyte(s.Quobyte, at.Child("quobyte"))
	}
	if one(s.DownwardAPI != nil, "downwardAPI", "downwarAPI") {
		v.mode(s.DownwardAPI.DefaultMode, at.Child("downwardAPI", "defaultMode"))
		v.downward(s.DownwardAPI.Items, at.Child("downwardAPI"))
	}
	if one(s.FC != nil, "fc") {
		v.fibreChannel(s.FC, at.Child("fc"))
	}
	if one(s.FlexVolume != nil, "flexVolume") {
		v.flex(s.FlexVolume, at.Child("flexVolume"))
	}
	if one(s.ConfigMap != nil, "configMap") {
		v.required(s.ConfigMap.Name, at.Child("configMap", "name"))
		v.mode(s.ConfigMap.DefaultMode, at.Child("configMap", "defaultMode"))
		v.items(s.ConfigMap.Items, at.Child("configMap", "items"))
	}
}

func (v *podValidator) requiredList(list []string, at *field.Path) {
	if len(list) == 0 {
		v.add(field.Required(at, ""))
	}
}

func (v *podValidator) secretRef(r *corev1.LocalObjectReference, at *field.Path) {
	if r != nil {
		v.required(r.Name, at.Child("name"))
	}
}

func (v *podValidator) partition(n int32, at *field.Path) {
	if n < 0 || n > 255 {
		v.invalid(at, n, utilvalidation.InclusiveRangeError(1, 255))
	}
}

// The forms of an iSCSI name, by its first three letters.
var iscsiForms = map[string]*regexp.Regexp{
	"iqn": regexp.MustCompile(`iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`),
	"eui": regexp.MustCompile(`^eui.[[:alnum:]]{16}$`),
	"naa": regexp.MustCompile(`^naa.[[:alnum:]]{32}$`),
}

func isISCSI(name string) bool {
	form := iscsiForms[name[:min(3, len(name))]]
	return form != nil && form.MatchString(name)
}

func (v *podValidator) iscsi(d *corev1.ISCSIVolumeSource, at *field.Path) {
	v.required(d.TargetPortal, at.Child("targetPortal"))
	v.required(d.IQN, at.Child("iqn"))
	if d.IQN != "" && !isISCSI(d.IQN) {
		v.invalid(at.Child("iqn"), d.IQN, "must be valid format starting with iqn, eui, or naa")
	}
	if d.Lun < 0 || d.Lun > 255 {
		v.invalid(at.Child("lun"), d.Lun, utilvalidation.InclusiveRangeError(0, 255))
	}
	if (d.DiscoveryCHAPAuth || d.SessionCHAPAuth) && d.SecretRef == nil {
		v.add(field.Required(at.Child("secretRef"), ""))
	}
	if n := d.InitiatorName; n != nil && !isISCSI(*n) {
		v.invalid(at.Child("initiatorname"), *n, "must be valid format starting with iqn, eui, or naa")
	}
}

func (v *podValidator) flocker(d *corev1.FlockerVolumeSource, at *field.Path) {
	if d.DatasetName == "" && d.DatasetUUID == "" {
		v.add(field.Required(at, "one of datasetName and datasetUUID is required"))
	}
	if d.DatasetName != "" && d.DatasetUUID != "" {
		v.invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously")
	}
	if strings.Contains(d.DatasetName, "/") {
		v.invalid(at.Child("datasetName"), d.DatasetName, "must not contain '/'")
	}
}

func (v *podValidator) quobyte(d *corev1.QuobyteVolumeSource, at *field.Path) {
	const pairs = "must be a host:port pair or multiple pairs separated by commas"
	switch {
	case d.Registry == "":
		v.add(field.Required(at.Child("registry"), pairs))
	case len(d.Tenant) > 64:
		v.add(field.Required(at.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters"))
	default:
		for pair := range strings.SplitSeq(d.Registry, ",") {
			if _, _, err := net.SplitHostPort(pair); err != nil {
				v.invalid(at.Child("registry"), d.Registry, pairs)
			}
		}
	}
	v.required(d.Volume, at.Child("volume"))
}

func (v *podValidator) fibreChannel(d *corev1.FCVolumeSource, at *field.Path) {
	switch names, ids := len(d.TargetWWNs) > 0, len(d.WWIDs) > 0; {
	case !names && !ids:
		v.add(field.Required(at.Child("targetWWNs"), "must specify either targetWWNs or wwids, but not both"))
	case names && ids:
		v.invalid(at.Child("targetWWNs"), d.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously")
	}
	if len(d.TargetWWNs) == 0 {
		return
	}
	if d.Lun == nil {
		v.add(field.Required(at.Child("lun"), "lun is required if targetWWNs is specified"))
	} else if *d.Lun < 0 || *d.Lun > 255 {
		v.invalid(at.Child("lun"), *d.Lun, utilvalidation.InclusiveRangeError(0, 255))
	}
}

func (v *podValidator) flex(d *corev1.FlexVolumeSource, at *field.Path) {
	v.required(d.Driver, at.Child("driver"))
	for _, key := range sortedKeys(d.Options) {
		domain, _, _ := strings.Cut(key, "/")
		domain = "." + strings.ToLower(domain)
		if strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			v.invalid(at.Child("options").Key(key), key, "kubernetes.io and k8s.io namespaces are reserved")
		}
	}
}

func (v *podValidator) azureDisk(d *corev1.AzureDiskVolumeSource, at *field.Path) {
	v.required(d.DiskName, at.Child("diskName"))
	v.required(d.DataDiskURI, at.Child("diskURI"))
	modes := []corev1.AzureDataDiskCachingMode{corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite}
	if m := d.CachingMode; m != nil && !slices.Contains(modes, *m) {
		v.add(notOneOf(at.Child("cachingMode"), *m, modes...))
	}
	kinds := []corev1.AzureDataDiskKind{corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk}
	if d.Kind == nil {
		return
	}
	if !slices.Contains(kinds, *d.Kind) {
		v.add(notOneOf(at.Child("kind"), *d.Kind, kinds...))
	}
	form, prefix := "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd", "https://"
	if *d.Kind == corev1.AzureManagedDisk {
		form, prefix = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}", "/subscriptions/"
	}
	if !strings.HasPrefix(d.DataDiskURI, prefix) {
		v.add(notOneOf(at.Child("diskURI"), d.DataDiskURI, form))
	}
}

func (v *podValidator) storageOS(d *corev1.StorageOSVolumeSource, at *field.Path) {
	v.required(d.VolumeName, at.Child("volumeName"))
	if d.VolumeName != "" {
		v.invalid(at.Child("volumeName"), d.VolumeName, utilvalidation.IsDNS1123Label(d.VolumeName)...)
	}
	if d.VolumeNamespace != "" {
		v.invalid(at.Child("volumeNamespace"), d.VolumeNamespace, utilvalidation.IsDNS1123Label(d.VolumeNamespace)...)
	}
	v.secretRef(d.SecretRef, at.Child("secretRef"))
}
