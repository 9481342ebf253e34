#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/bf16.h"
#include "kernels/image_encoder.h"
#include "xla/bf16_arrays.h"
#include "xla/ffi/api/ffi.h"
#include "xla/xla_bf16.h"

namespace jaxfactory {
namespace {

// The kernels and biases of layers, float32, are `arrays` from number `first` on.
template <typename Arrays>
ffi::ErrorOr<std::vector<ConvLayer>> Layers(const Bytes& pixels,
                                            ffi::Span<const std::int64_t> strides,
                                            const Arrays& arrays, std::size_t first) {
  std::vector<ConvLayer> layers(strides.size());
  int height = Size(pixels, 1), width = Size(pixels, 2), channels = Size(pixels, 3);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    auto kernel = arrays.template get<Floats>(first + 2 * i);
    auto bias = arrays.template get<Floats>(first + 2 * i + 1);
    if (kernel.has_error()) return ffi::Unexpected(kernel.error());
    if (bias.has_error()) return ffi::Unexpected(bias.error());
    ConvLayer& layer = layers[i];
    layer.shape = {0,
                   height,
                   width,
                   channels,
                   Size(*kernel, 0),
                   static_cast<int>(strides[i]),
                   Size(*kernel, 3)};
    layer.kernel = kernel->typed_data();
    layer.bias = bias->typed_data();
    height = layer.shape.rows();
    width = layer.shape.columns();
    channels = layer.shape.outputs;
  }
  return layers;
}

Pixels PixelsOf(const Bytes& pixels, const Floats& scale, const Floats& shift,
                float clip) {
  return {pixels.typed_data(), scale.typed_data(), shift.typed_data(), clip};
}

// Arguments: images [N, H, W, C], scale and shift [H, W, C], kernel and bias of each
// layer. Results: those of every layer, or of the last one.
ffi::Error EncoderForward(ffi::ThreadPool pool, ffi::Span<const std::int64_t> strides,
                          std::int64_t activation, float clip, Bytes images,
                          Floats scale, Floats shift, ffi::RemainingArgs arrays,
                          ffi::RemainingRets results) {
  auto layers = Layers(images, strides, arrays, 0);
  if (layers.has_error()) return layers.error();
  const std::size_t skipped = layers->size() - results.size();
  for (std::size_t i = 0; i < results.size(); ++i) {
    auto result = results.get<Halves>(i);
    if (result.has_error()) return result.error();
    (*layers)[skipped + i].result = reinterpret_cast<Bf16*>((*result)->typed_data());
  }
  const ImageEncoder encoder(*layers, static_cast<Finish>(activation), false);
  const Pixels pixels = PixelsOf(images, scale, shift, clip);
  const int count = Size(images, 0), pieces = std::min(kPieces, count);
  InPieces(pool, pieces, [&](int piece) {
    encoder.Forward(pixels, FirstOf(piece, pieces, count),
                    FirstOf(piece + 1, pieces, count));
  });
  return ffi::Error::Success();
}

// Arguments: images, scale and shift as above, the gradient of the last layer's results
// (float32), the results of every layer, kernel and bias of each. Results: the
// gradients of each kernel and bias.
ffi::Error EncoderBackward(ffi::ThreadPool pool, ffi::Span<const std::int64_t> strides,
                           std::int64_t activation, float clip, Bytes images,
                           Floats scale, Floats shift, Floats errors,
                           ffi::RemainingArgs arrays, ffi::RemainingRets results) {
  auto layers = Layers(images, strides, arrays, strides.size());
  if (layers.has_error()) return layers.error();
  for (std::size_t i = 0; i < layers->size(); ++i) {
    auto result = arrays.get<Halves>(i);
    if (result.has_error()) return result.error();
    (*layers)[i].result = reinterpret_cast<Bf16*>(result->typed_data());
  }
  const ImageEncoder encoder(*layers, static_cast<Finish>(activation), true);
  const Pixels pixels = PixelsOf(images, scale, shift, clip);
  const int count = Size(images, 0), pieces = std::min(kPieces, count);
  const std::size_t size = encoder.gradients();
  std::vector<float> sums(size * static_cast<std::size_t>(pieces));
  InPieces(pool, pieces, [&](int piece) {
    encoder.Backward(pixels, errors.typed_data(), FirstOf(piece, pieces, count),
                     FirstOf(piece + 1, pieces, count),
                     sums.data() + static_cast<std::size_t>(piece) * size);
  });
  AddUp(sums.data(), pieces, size, sums.data());
  const float* from = sums.data();
  for (std::size_t i = 0; i < results.size(); ++i) {
    auto result = results.get<Floats>(i);
    if (result.has_error()) return result.error();
    const std::size_t values = (*result)->element_count();
    std::copy_n(from, values, (*result)->typed_data());
    from += values;
  }
  return ffi::Error::Success();
}

// What both begin with.
auto Encoder() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Attr<ffi::Span<const std::int64_t>>("strides")
      .Attr<std::int64_t>("activation")
      .Attr<float>("clip")
      .Arg<Bytes>()
      .Arg<Floats>()
      .Arg<Floats>();
}

XLA_FFI_DEFINE_HANDLER(kEncoderForward, Guarded<EncoderForward>{},
                       Encoder().RemainingArgs().RemainingRets());
XLA_FFI_DEFINE_HANDLER(kEncoderBackward, Guarded<EncoderBackward>{},
                       Encoder().Arg<Floats>().RemainingArgs().RemainingRets());
}  // namespace

std::map<std::string, void*> XlaEncoderHandlers() {
  return {
      {"encoder_forward", reinterpret_cast<void*>(kEncoderForward)},
      {"encoder_backward", reinterpret_cast<void*>(kEncoderBackward)},
  };
}

}  // namespace jaxfactory
