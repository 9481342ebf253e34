// The module _kernels: convolutions on the CPU, which models use wherever they run.
#include <nanobind/nanobind.h>

#include "kernels/bf16.h"
#include "kernels/convolution.h"
#include "xla/xla_bf16.h"
#include "xla/xla_convolution.h"

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT: "name"_a is how nanobind names arguments

namespace jaxfactory {

NB_MODULE(_kernels, m) {
  m.doc() = "Convolution kernels for the CPU; use them through jaxfactory.models.";
  m.def(
      "xla_convolutions",
      [] {
        nb::dict handlers;
        if (!ConvolutionSupported()) return handlers;
        handlers["forward"] = nb::capsule(XlaConvForwardHandler());
        handlers["kernel_gradient"] = nb::capsule(XlaConvKernelGradientHandler());
        handlers["image_gradient"] = nb::capsule(XlaConvImageGradientHandler());
        return handlers;
      },
      "XLA FFI handlers of the kernels; empty if the processor lacks AVX2 and FMA.");
  m.def(
      "xla_bf16",
      [] {
        nb::dict handlers;
        if (!Bf16Supported()) return handlers;
        for (const auto& some : {XlaEncoderHandlers(), XlaLayerHandlers()}) {
          for (const auto& [name, handler] : some) {
            handlers[name.c_str()] = nb::capsule(handler);
          }
        }
        return handlers;
      },
      "XLA FFI handlers of the bfloat16 kernels; empty if the processor lacks "
      "AVX-512-BF16.");
  m.def("bf16_instructions", &Bf16Instructions,
        R"(What the bfloat16 kernels multiply with: "AMX", "AVX-512-BF16" or "".)");
  m.def("limit_convolution_lanes", &LimitConvolutionLanes, "lanes"_a,
        "Use vectors of at most this many floats, 8 or 16; for tests of both.");
}

}  // namespace jaxfactory
