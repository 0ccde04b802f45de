package core

import (
	"net"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/forms"
)

// retiredSources judges the types between hostPath and projected in the order of the API. Most were served by drivers
// that Kubernetes no longer has; their objects are still accepted.
func (v *podValidator) retiredSources(vol *corev1.Volume, at *place, one func(set bool, name string) bool) {
	s := &vol.VolumeSource
	v.cloudDisks(vol, at, one)
	if one(s.PersistentVolumeClaim != nil, "persistentVolumeClaim") {
		v.required(s.PersistentVolumeClaim.ClaimName, at.child("persistentVolumeClaim").child("claimName"))
	}
	v.clusterDisks(vol, at, one)
	if one(s.AzureFile != nil, "azureFile") {
		v.required(s.AzureFile.SecretName, at.child("azureFile").child("secretName"))
		v.required(s.AzureFile.ShareName, at.child("azureFile").child("shareName"))
	}
	if one(s.VsphereVolume != nil, "vsphereVolume") {
		v.required(s.VsphereVolume.VolumePath, at.child("vsphereVolume").child("volumePath"))
	}
	if one(s.PhotonPersistentDisk != nil, "photonPersistentDisk") {
		v.required(s.PhotonPersistentDisk.PdID, at.child("photonPersistentDisk").child("pdID"))
	}
	if one(s.PortworxVolume != nil, "portworxVolume") {
		v.required(s.PortworxVolume.VolumeID, at.child("portworxVolume").child("volumeID"))
	}
	if one(s.AzureDisk != nil, "azureDisk") {
		v.azureDisk(s.AzureDisk, at.child("azureDisk"))
	}
	if one(s.StorageOS != nil, "storageos") {
		v.storageOS(s.StorageOS, at.child("storageos"))
	}
}

func (v *podValidator) cloudDisks(vol *corev1.Volume, at *place, one func(set bool, name string) bool) {
	s := &vol.VolumeSource
	if one(s.GitRepo != nil, "gitRepo") {
		v.required(s.GitRepo.Repository, at.child("gitRepo").child("repository"))
		v.add(validateLocalPath(s.GitRepo.Directory, at.child("gitRepo").child("directory"))...)
	}
	if one(s.GCEPersistentDisk != nil, "gcePersistentDisk") {
		v.required(s.GCEPersistentDisk.PDName, at.child("persistentDisk").child("pdName"))
		v.partition(s.GCEPersistentDisk.Partition, at.child("persistentDisk").child("partition"))
	}
	if one(s.AWSElasticBlockStore != nil, "awsElasticBlockStore") {
		v.required(s.AWSElasticBlockStore.VolumeID, at.child("awsElasticBlockStore").child("volumeID"))
		v.partition(s.AWSElasticBlockStore.Partition, at.child("awsElasticBlockStore").child("partition"))
	}
	if one(s.Secret != nil, "secret") {
		v.required(s.Secret.SecretName, at.child("secret").child("secretName"))
		v.mode(s.Secret.DefaultMode, at.child("secret").child("defaultMode"))
		v.items(s.Secret.Items, at.child("secret").child("items"))
	}
	if one(s.NFS != nil, "nfs") {
		v.nfs(s.NFS, at.child("nfs"))
	}
	if one(s.ISCSI != nil, "iscsi") {
		v.iscsi(s.ISCSI, at.child("iscsi"))
	}
	if s.ISCSI != nil && s.ISCSI.InitiatorName != nil && len(vol.Name+":"+s.ISCSI.TargetPortal) > 64 {
		v.invalid(at.child("name"), vol.Name, "the volume's name, a colon and iscsi.targetPortal must be no more than 64 characters together if iscsi.initiatorName is specified")
	}
	if one(s.Glusterfs != nil, "glusterfs") {
		v.required(s.Glusterfs.EndpointsName, at.child("glusterfs").child("endpoints"))
		v.required(s.Glusterfs.Path, at.child("glusterfs").child("path"))
	}
	if one(s.Flocker != nil, "flocker") {
		v.flocker(s.Flocker, at.child("flocker"))
	}
}

func (v *podValidator) clusterDisks(vol *corev1.Volume, at *place, one func(set bool, name string) bool) {
	s := &vol.VolumeSource
	if one(s.RBD != nil, "rbd") {
		v.requiredList(s.RBD.CephMonitors, at.child("rbd").child("monitors"))
		v.required(s.RBD.RBDImage, at.child("rbd").child("image"))
	}
	if one(s.Cinder != nil, "cinder") {
		v.required(s.Cinder.VolumeID, at.child("cinder").child("volumeID"))
		v.secretRef(s.Cinder.SecretRef, at.child("cinder").child("secretRef"))
	}
	if one(s.CephFS != nil, "cephFS") {
		v.requiredList(s.CephFS.Monitors, at.child("cephfs").child("monitors"))
	}
	if one(s.Quobyte != nil, "quobyte") {
		v.quobyte(s.Quobyte, at.child("quobyte"))
	}
	if one(s.DownwardAPI != nil, "downwarAPI") {
		v.mode(s.DownwardAPI.DefaultMode, at.child("downwardAPI").child("defaultMode"))
		v.downward(s.DownwardAPI.Items, at.child("downwardAPI"))
	}
	if one(s.FC != nil, "fc") {
		v.fibreChannel(s.FC, at.child("fc"))
	}
	if one(s.FlexVolume != nil, "flexVolume") {
		v.flex(s.FlexVolume, at.child("flexVolume"))
	}
	if one(s.ConfigMap != nil, "configMap") {
		v.required(s.ConfigMap.Name, at.child("configMap").child("name"))
		v.mode(s.ConfigMap.DefaultMode, at.child("configMap").child("defaultMode"))
		v.items(s.ConfigMap.Items, at.child("configMap").child("items"))
	}
}

func (v *podValidator) requiredList(list []string, at *place) {
	if len(list) == 0 {
		v.add(field.Required(at.path(), ""))
	}
}

func (v *podValidator) secretRef(r *corev1.LocalObjectReference, at *place) {
	if r != nil {
		v.required(r.Name, at.child("name"))
	}
}

func (v *podValidator) partition(n int32, at *place) {
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

func (v *podValidator) iscsi(d *corev1.ISCSIVolumeSource, at *place) {
	v.required(d.TargetPortal, at.child("targetPortal"))
	v.required(d.IQN, at.child("iqn"))
	if d.IQN != "" && !isISCSI(d.IQN) {
		v.invalid(at.child("iqn"), d.IQN, "must be valid format starting with iqn, eui, or naa")
	}
	if d.Lun < 0 || d.Lun > 255 {
		v.invalid(at.child("lun"), d.Lun, utilvalidation.InclusiveRangeError(0, 255))
	}
	if (d.DiscoveryCHAPAuth || d.SessionCHAPAuth) && d.SecretRef == nil {
		v.add(field.Required(at.child("secretRef").path(), ""))
	}
	if n := d.InitiatorName; n != nil && !isISCSI(*n) {
		v.invalid(at.child("initiatorname"), *n, "must be valid format starting with iqn, eui, or naa")
	}
}

func (v *podValidator) flocker(d *corev1.FlockerVolumeSource, at *place) {
	if d.DatasetName == "" && d.DatasetUUID == "" {
		v.add(field.Required(at.path(), "one of datasetName and datasetUUID is required"))
	}
	if d.DatasetName != "" && d.DatasetUUID != "" {
		v.invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously")
	}
	if strings.Contains(d.DatasetName, "/") {
		v.invalid(at.child("datasetName"), d.DatasetName, "must not contain '/'")
	}
}

func (v *podValidator) quobyte(d *corev1.QuobyteVolumeSource, at *place) {
	const pairs = "must be a host:port pair or multiple pairs separated by commas"
	switch {
	case d.Registry == "":
		v.add(field.Required(at.child("registry").path(), pairs))
	case len(d.Tenant) > 64:
		v.add(field.Required(at.child("tenant").path(), "must be a UUID and may not exceed a length of 64 characters"))
	default:
		for pair := range strings.SplitSeq(d.Registry, ",") {
			if _, _, err := net.SplitHostPort(pair); err != nil {
				v.invalid(at.child("registry"), d.Registry, pairs)
			}
		}
	}
	v.required(d.Volume, at.child("volume"))
}

func (v *podValidator) fibreChannel(d *corev1.FCVolumeSource, at *place) {
	switch names, ids := len(d.TargetWWNs) > 0, len(d.WWIDs) > 0; {
	case !names && !ids:
		v.add(field.Required(at.child("targetWWNs").path(), "must specify either targetWWNs or wwids, but not both"))
	case names && ids:
		v.invalid(at.child("targetWWNs"), d.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously")
	}
	if len(d.TargetWWNs) == 0 {
		return
	}
	if d.Lun == nil {
		v.add(field.Required(at.child("lun").path(), "lun is required if targetWWNs is specified"))
	} else if *d.Lun < 0 || *d.Lun > 255 {
		v.invalid(at.child("lun"), *d.Lun, utilvalidation.InclusiveRangeError(0, 255))
	}
}

func (v *podValidator) flex(d *corev1.FlexVolumeSource, at *place) {
	v.required(d.Driver, at.child("driver"))
	for _, key := range sortedKeys(d.Options) {
		domain, _, _ := strings.Cut(key, "/")
		domain = "." + strings.ToLower(domain)
		if strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			v.invalid(at.child("options").key(key), key, "kubernetes.io and k8s.io namespaces are reserved")
		}
	}
}

func (v *podValidator) azureDisk(d *corev1.AzureDiskVolumeSource, at *place) {
	v.required(d.DiskName, at.child("diskName"))
	v.required(d.DataDiskURI, at.child("diskURI"))
	modes := []corev1.AzureDataDiskCachingMode{corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite}
	if m := d.CachingMode; m != nil && !slices.Contains(modes, *m) {
		v.add(notOneOf(at.child("cachingMode").path(), *m, modes...))
	}
	kinds := []corev1.AzureDataDiskKind{corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk}
	if d.Kind == nil {
		return
	}
	if !slices.Contains(kinds, *d.Kind) {
		v.add(notOneOf(at.child("kind").path(), *d.Kind, kinds...))
	}
	form, prefix := "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd", "https://"
	if *d.Kind == corev1.AzureManagedDisk {
		form, prefix = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}", "/subscriptions/"
	}
	if !strings.HasPrefix(d.DataDiskURI, prefix) {
		v.add(notOneOf(at.child("diskURI").path(), d.DataDiskURI, form))
	}
}

func (v *podValidator) storageOS(d *corev1.StorageOSVolumeSource, at *place) {
	v.required(d.VolumeName, at.child("volumeName"))
	if d.VolumeName != "" {
		v.form(at.child("volumeName"), d.VolumeName, forms.Label)
	}
	if d.VolumeNamespace != "" {
		v.form(at.child("volumeNamespace"), d.VolumeNamespace, forms.Label)
	}
	v.secretRef(d.SecretRef, at.child("secretRef"))
}
