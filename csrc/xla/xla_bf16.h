// The bfloat16 kernels as XLA custom calls.
#ifndef JAXFACTORY_XLA_XLA_BF16_H_
#define JAXFACTORY_XLA_XLA_BF16_H_

#include <map>
#include <string>

namespace jaxfactory {

// XLA FFI handlers for the CPU backend by name, in the form that
// jax.ffi.register_ffi_target takes: of image encoders, and of dense and recurrent
// layers. Types and shapes are where they are defined.
std::map<std::string, void*> XlaEncoderHandlers();
std::map<std::string, void*> XlaLayerHandlers();

}  // namespace jaxfactory

#endif  // JAXFACTORY_XLA_XLA_BF16_H_
