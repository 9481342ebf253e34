// Convolutions as XLA custom calls for the CPU backend.
#ifndef JAXFACTORY_XLA_XLA_CONVOLUTION_H_
#define JAXFACTORY_XLA_XLA_CONVOLUTION_H_

namespace jaxfactory {

// Handlers as jax.ffi.register_ffi_target takes them. Forward takes images and a
// kernel, the kernel's gradient images and the output's gradient, the images' gradient
// a kernel and the output's gradient; all take the attribute `stride`; the shapes
// determine the rest.
void* XlaConvForwardHandler();
void* XlaConvKernelGradientHandler();
void* XlaConvImageGradientHandler();

}  // namespace jaxfactory

#endif  // JAXFACTORY_XLA_XLA_CONVOLUTION_H_
