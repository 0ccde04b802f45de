package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/forms"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
)

var (
	sameSource         = same.Func[corev1.PersistentVolumeSource]()
	sameVolumeAffinity = same.Func[corev1.VolumeNodeAffinity]()
)

// validateVolumeSources judges what a persistent volume is on, and from where it can be reached. strict says that the
// affinity may name no value that a label can't have.
func validateVolumeSources(p *corev1.PersistentVolume, strict bool, at *place) field.ErrorList {
	v := &podValidator{path: at}
	s, affinity := &p.Spec, at.child("nodeAffinity")
	if a := s.NodeAffinity; a != nil && a.Required != nil {
		v.nodeTerms(a.Required.NodeSelectorTerms, affinity.child("required").child("nodeSelectorTerms"), strict)
	} else if a != nil {
		v.add(field.Required(affinity.child("required").path(), "must specify required node constraints"))
	}
	count := 0
	one := func(set bool, name string) bool {
		if !set {
			return false
		}
		if count++; count > 1 {
			v.add(field.Forbidden(at.child(name).path(), "may not specify more than 1 volume type"))
		}
		return count == 1
	}
	if one(s.HostPath != nil, "hostPath") {
		v.hostPath(s.HostPath, at.child("hostPath"))
	}
	v.retiredVolumes(p, at, one, &count)
	if one(s.ScaleIO != nil, "scaleIO") {
		v.required(s.ScaleIO.Gateway, at.child("scaleIO").child("gateway"))
		v.required(s.ScaleIO.System, at.child("scaleIO").child("system"))
		v.required(s.ScaleIO.VolumeName, at.child("scaleIO").child("volumeName"))
	}
	if one(s.Local != nil, "local") {
		v.local(s, at)
	}
	if one(s.StorageOS != nil, "storageos") {
		v.storageOSVolume(s.StorageOS, at.child("storageos"))
	}
	if one(s.CSI != nil, "csi") {
		v.csiVolume(s.CSI, at.child("csi"))
	}
	if count == 0 {
		v.add(field.Required(at.path(), "must specify a volume type"))
	}
	return v.errs
}

func (v *podValidator) local(s *corev1.PersistentVolumeSpec, at *place) {
	if s.Local.Path == "" {
		v.required("", at.child("local").child("path"))
	} else {
		v.add(validateNoBackstep(s.Local.Path, at.child("local").child("path"))...)
	}
	if s.NodeAffinity == nil {
		v.add(field.Required(at.child("nodeAffinity").path(), "Local volume requires node affinity"))
	}
}

// retiredVolumes judges the types between hostPath and scaleIO in the order of the API.
func (v *podValidator) retiredVolumes(p *corev1.PersistentVolume, at *place, one func(set bool, name string) bool, count *int) {
	s := &p.Spec
	v.cloudVolumes(s, at, one)
	v.clusterVolumes(p, at, one)
	if s.FlexVolume != nil { // is judged, and none too many, beside any other
		*count++
		v.flex(&corev1.FlexVolumeSource{Driver: s.FlexVolume.Driver, Options: s.FlexVolume.Options}, at.child("flexVolume"))
	}
	if one(s.AzureFile != nil, "azureFile") {
		file := at.child("azureFile")
		v.required(s.AzureFile.SecretName, file.child("secretName"))
		v.required(s.AzureFile.ShareName, file.child("shareName"))
		if n := s.AzureFile.SecretNamespace; n != nil {
			v.required(*n, file.child("secretNamespace"))
		}
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
}

func (v *podValidator) cloudVolumes(s *corev1.PersistentVolumeSpec, at *place, one func(set bool, name string) bool) {
	if one(s.GCEPersistentDisk != nil, "gcePersistentDisk") {
		v.required(s.GCEPersistentDisk.PDName, at.child("persistentDisk").child("pdName"))
		v.partition(s.GCEPersistentDisk.Partition, at.child("persistentDisk").child("partition"))
	}
	if one(s.AWSElasticBlockStore != nil, "awsElasticBlockStore") {
		v.required(s.AWSElasticBlockStore.VolumeID, at.child("awsElasticBlockStore").child("volumeID"))
		v.partition(s.AWSElasticBlockStore.Partition, at.child("awsElasticBlockStore").child("partition"))
	}
	if one(s.Glusterfs != nil, "glusterfs") {
		gluster := at.child("glusterfs")
		v.required(s.Glusterfs.EndpointsName, gluster.child("endpoints"))
		v.required(s.Glusterfs.Path, gluster.child("path"))
		if n := s.Glusterfs.EndpointsNamespace; n != nil && *n == "" {
			v.invalid(gluster.child("endpointsNamespace"), *n, "must be a valid namespace name, if it is set")
		} else if n != nil {
			v.invalid(gluster.child("endpointsNamespace"), *n, validation.ValidateNamespaceName(*n, false)...)
		}
	}
	if one(s.Flocker != nil, "flocker") {
		v.flocker(s.Flocker, at.child("flocker"))
	}
	if one(s.NFS != nil, "nfs") {
		v.nfs(s.NFS, at.child("nfs"))
	}
}

func (v *podValidator) clusterVolumes(p *corev1.PersistentVolume, at *place, one func(set bool, name string) bool) {
	s := &p.Spec
	if one(s.RBD != nil, "rbd") {
		v.requiredList(s.RBD.CephMonitors, at.child("rbd").child("monitors"))
		v.required(s.RBD.RBDImage, at.child("rbd").child("image"))
	}
	if one(s.Quobyte != nil, "quobyte") {
		v.quobyte(s.Quobyte, at.child("quobyte"))
	}
	if one(s.CephFS != nil, "cephFS") {
		v.requiredList(s.CephFS.Monitors, at.child("cephfs").child("monitors"))
	}
	if one(s.ISCSI != nil, "iscsi") {
		v.iscsiVolume(s.ISCSI, p.Name, at.child("iscsi"))
	}
	if one(s.Cinder != nil, "cinder") {
		v.required(s.Cinder.VolumeID, at.child("cinder").child("volumeID"))
		if r := s.Cinder.SecretRef; r != nil {
			v.required(r.Name, at.child("cinder").child("secretRef").child("name"))
			v.required(r.Namespace, at.child("cinder").child("secretRef").child("namespace"))
		}
	}
	if one(s.FC != nil, "fc") {
		v.fibreChannel(s.FC, at.child("fc"))
	}
}

func (v *podValidator) iscsiVolume(d *corev1.ISCSIPersistentVolumeSource, name string, at *place) {
	same := &corev1.ISCSIVolumeSource{
		TargetPortal: d.TargetPortal, IQN: d.IQN, Lun: d.Lun, DiscoveryCHAPAuth: d.DiscoveryCHAPAuth, SessionCHAPAuth: d.SessionCHAPAuth,
		InitiatorName: d.InitiatorName,
	}
	if d.SecretRef != nil {
		same.SecretRef = &corev1.LocalObjectReference{}
		v.required(d.SecretRef.Name, at.child("secretRef").child("name"))
	}
	v.iscsi(same, at)
	if d.InitiatorName != nil && len(name+":"+d.TargetPortal) > 64 {
		v.invalid(at.child("targetportal"), d.TargetPortal, "the volume's name, a colon and iscsi.targetPortal must be no more than 64 characters together if iscsi.initiatorName is specified")
	}
}

func (v *podValidator) storageOSVolume(d *corev1.StorageOSPersistentVolumeSource, at *place) {
	v.storageOS(&corev1.StorageOSVolumeSource{VolumeName: d.VolumeName, VolumeNamespace: d.VolumeNamespace}, at)
	if d.SecretRef != nil {
		v.required(d.SecretRef.Name, at.child("secretRef").child("name"))
		v.required(d.SecretRef.Namespace, at.child("secretRef").child("namespace"))
	}
}

func (v *podValidator) csiVolume(c *corev1.CSIPersistentVolumeSource, at *place) {
	v.driverName(c.Driver, at.child("driver"))
	v.required(c.VolumeHandle, at.child("volumeHandle"))
	secret := func(r *corev1.SecretReference, name string) {
		if r == nil {
			return
		}
		at := at.child(name)
		v.required(r.Name, at.child("name"))
		if r.Name != "" {
			v.form(at.child("name"), r.Name, forms.Subdomain)
		}
		v.required(r.Namespace, at.child("namespace"))
		if r.Namespace != "" {
			v.form(at.child("namespace"), r.Namespace, forms.Label)
		}
	}
	secret(c.ControllerPublishSecretRef, "controllerPublishSecretRef")
	secret(c.ControllerExpandSecretRef, "controllerExpandSecretRef")
	secret(c.NodePublishSecretRef, "nodePublishSecretRef")
	secret(c.NodeExpandSecretRef, "nodeExpandSecretRef")
}
