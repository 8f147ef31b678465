// Package assets is what machines download, over TFTP and HTTP: loaders,
// kernels, initrds, the files of images.
//
// It knows files and transfers. What a machine gets is not for it to decide.
package assets
