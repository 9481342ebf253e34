#include "xla/xla_convolution.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/convolution.h"
#include "xla/ffi/api/ffi.h"
#include "xla/pieces.h"

namespace jaxfactory {
namespace {

namespace ffi = xla::ffi;

using Array = ffi::Buffer<ffi::F32>;
using Out = ffi::Result<ffi::Buffer<ffi::F32>>;

template <typename Images, typename Kernel>
ConvShape ShapeOf(const Images& images, const Kernel& kernel, std::int64_t stride) {
  const auto of = [](std::int64_t size) { return static_cast<int>(size); };
  return {of(images[0]), of(images[1]), of(images[2]), of(images[3]),
          of(kernel[0]), of(stride),    of(kernel[3])};
}

ffi::Error Forward(ffi::ThreadPool pool, std::int64_t stride, Array x, Array kernel,
                   Out y) {
  const ConvShape shape = ShapeOf(x.dimensions(), kernel.dimensions(), stride);
  const int pieces = std::min(kPieces, shape.images);
  InPieces(pool, pieces, [&](int piece) {
    ConvForward(shape, x.typed_data(), kernel.typed_data(), y->typed_data(),
                FirstOf(piece, pieces, shape.images),
                FirstOf(piece + 1, pieces, shape.images));
  });
  return ffi::Error::Success();
}

ffi::Error KernelGradient(ffi::ThreadPool pool, std::int64_t stride, Array x, Array dy,
                          Out kernel_gradient) {
  const ConvShape shape =
      ShapeOf(x.dimensions(), kernel_gradient->dimensions(), stride);
  const int pieces = std::min(kPieces, shape.images);
  const std::size_t size = shape.kernel();
  std::vector<float> sums(size * static_cast<std::size_t>(pieces));
  InPieces(pool, pieces, [&](int piece) {
    ConvKernelGradient(shape, x.typed_data(), dy.typed_data(),
                       sums.data() + static_cast<std::size_t>(piece) * size,
                       FirstOf(piece, pieces, shape.images),
                       FirstOf(piece + 1, pieces, shape.images));
  });
  float* out = kernel_gradient->typed_data();
  std::copy_n(sums.data(), size, out);
  for (int piece = 1; piece < pieces; ++piece) {
    const float* part = sums.data() + static_cast<std::size_t>(piece) * size;
    for (std::size_t i = 0; i < size; ++i) out[i] += part[i];
  }
  return ffi::Error::Success();
}

ffi::Error ImageGradient(ffi::ThreadPool pool, std::int64_t stride, Array kernel,
                         Array dy, Out dx) {
  const ConvShape shape = ShapeOf(dx->dimensions(), kernel.dimensions(), stride);
  const int pieces = std::min(kPieces, shape.images);
  std::vector<float> transposed(shape.kernel());
  TransposeKernel(shape, kernel.typed_data(), transposed.data());
  InPieces(pool, pieces, [&](int piece) {
    ConvImageGradient(shape, transposed.data(), dy.typed_data(), dx->typed_data(),
                      FirstOf(piece, pieces, shape.images),
                      FirstOf(piece + 1, pieces, shape.images));
  });
  return ffi::Error::Success();
}

// Shared by all three handlers.
auto Signature() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Attr<std::int64_t>("stride")
      .Arg<Array>()
      .Arg<Array>()
      .Ret<Array>();
}

XLA_FFI_DEFINE_HANDLER(kForward, Guarded<Forward>{}, Signature());
XLA_FFI_DEFINE_HANDLER(kKernelGradient, Guarded<KernelGradient>{}, Signature());
XLA_FFI_DEFINE_HANDLER(kImageGradient, Guarded<ImageGradient>{}, Signature());

}  // namespace

void* XlaConvForwardHandler() { return reinterpret_cast<void*>(kForward); }
void* XlaConvKernelGradientHandler() {
  return reinterpret_cast<void*>(kKernelGradient);
}
void* XlaConvImageGradientHandler() { return reinterpret_cast<void*>(kImageGradient); }

}  // namespace jaxfactory
