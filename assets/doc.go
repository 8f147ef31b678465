// Package assets is what machines download, over TFTP and HTTP: loaders,
// kernels, initrds, the files of images.
//
// It knows files, names and transfers. It must not know what a machine should
// get, nor why: that is internal/boot's. Whoever knows a name of something that
// is on offer is given it, and nothing else can be reached by any name.
package assets
