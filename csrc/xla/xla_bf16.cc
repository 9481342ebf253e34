#include "xla/xla_bf16.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/bf16.h"
#include "kernels/dense.h"
#include "kernels/gru.h"
#include "kernels/image_encoder.h"
#include "kernels/scratch.h"
#include "xla/ffi/api/ffi.h"
#include "xla/pieces.h"

namespace jaxfactory {
namespace {

namespace ffi = xla::ffi;

using Floats = ffi::Buffer<ffi::F32>;
using FloatsOut = ffi::Result<Floats>;
using Halves = ffi::Buffer<ffi::BF16>;
using HalvesOut = ffi::Result<Halves>;
using Bytes = ffi::Buffer<ffi::U8>;
using Flags = ffi::Buffer<ffi::PRED>;

const Bf16* Data(const Halves& array) {
  return reinterpret_cast<const Bf16*>(array.typed_data());
}
Bf16* Data(HalvesOut& array) { return reinterpret_cast<Bf16*>(array->typed_data()); }

template <typename Array>
int Size(const Array& array, std::size_t axis) {
  return static_cast<int>(array.dimensions()[axis]);
}

// Cuts `count` into at most `most` ranges whose borders are multiples of `unit`.
Range RangeOf(int piece, int pieces, int count, int unit) {
  const int units = (count + unit - 1) / unit;
  return {std::min(count, FirstOf(piece, pieces, units) * unit),
          std::min(count, FirstOf(piece + 1, pieces, units) * unit)};
}

int PiecesOf(int count, int unit) {
  return std::min(kPieces, (count + unit - 1) / unit);
}

// --- The image encoder ---------------------------------------------------------------

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
  for (int piece = 1; piece < pieces; ++piece) {
    const float* part = sums.data() + static_cast<std::size_t>(piece) * size;
    for (std::size_t i = 0; i < size; ++i) sums[i] += part[i];
  }
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

// --- Dense layers --------------------------------------------------------------------

constexpr int kColumns = 32;  // of a piece of a forward pass
constexpr int kRows = 128;

// Arguments: x [M, K] bfloat16, kernel [K, N], bias [N]. Result: [M, N], float32 for
// the activation kBias, else bfloat16.
ffi::Error DenseLayer(ffi::ThreadPool pool, std::int64_t activation, Halves x,
                      Floats kernel, Floats bias, ffi::Result<ffi::AnyBuffer> y) {
  const DenseShape shape{Size(x, 0), Size(x, 1), Size(kernel, 1)};
  const int across = PiecesOf(shape.outputs, kColumns);
  const int down = std::clamp(shape.rows / kRows, 1, 4);
  InPieces(pool, across * down, [&](int piece) {
    DenseForward(
        shape, Data(x), kernel.typed_data(), bias.typed_data(),
        static_cast<Finish>(activation), RangeOf(piece / across, down, shape.rows, 1),
        RangeOf(piece % across, across, shape.outputs, kColumns), y->untyped_data());
  });
  return ffi::Error::Success();
}

void KernelGradient(ffi::ThreadPool& pool, const DenseShape& shape, const Bf16* x,
                    const Bf16* errors, float* out) {
  DenseKernelGradient gradient(shape, x, errors);
  InPieces(pool, gradient.parts(), [&](int part) { gradient.Prepare(part); });
  const int pieces = PiecesOf(shape.inputs, 48);
  InPieces(pool, pieces, [&](int piece) {
    gradient.Compute(RangeOf(piece, pieces, shape.inputs, 16), out);
  });
}

void AddUp(const std::vector<float>& sums, int pieces, int size, float* out) {
  std::copy_n(sums.data(), size, out);
  for (int piece = 1; piece < pieces; ++piece) {
    for (int i = 0; i < size; ++i)
      out[i] += sums[static_cast<std::size_t>(piece * size + i)];
  }
}

// Arguments: x [M, K] and the layer's result y [M, N], bfloat16, its gradient [M, N],
// kernel [K, N]. Results: the gradients of x [M, K], kernel and bias.
ffi::Error DenseBackward(ffi::ThreadPool pool, std::int64_t activation, Halves x,
                         Halves y, Floats dy, Floats kernel, FloatsOut dx,
                         FloatsOut d_kernel, FloatsOut d_bias) {
  const DenseShape shape{Size(x, 0), Size(x, 1), Size(kernel, 1)};
  const std::size_t columns = static_cast<std::size_t>(shape.outputs);
  ScratchArray<Bf16> errors(static_cast<std::size_t>(shape.rows) * columns);
  const int pieces = PiecesOf(shape.rows, 16);
  std::vector<float> sums(columns * static_cast<std::size_t>(pieces));
  InPieces(pool, pieces, [&](int piece) {
    const Range rows = RangeOf(piece, pieces, shape.rows, 1);
    const std::size_t start = static_cast<std::size_t>(rows.begin) * columns;
    // A linear layer does not read its result, which is not passed then.
    const Bf16* result = y.element_count() == 0 ? nullptr : Data(y) + start;
    ActivationGradient(result, dy.typed_data() + start, static_cast<Finish>(activation),
                       rows.end - rows.begin, shape.outputs, errors.data() + start,
                       sums.data() + static_cast<std::size_t>(piece) * columns);
  });
  AddUp(sums, pieces, shape.outputs, d_bias->typed_data());
  const int across = PiecesOf(shape.inputs, 32);
  InPieces(pool, across, [&](int piece) {
    DenseInputGradient(shape, errors.data(), kernel.typed_data(),
                       RangeOf(piece, across, shape.inputs, 16), dx->typed_data());
  });
  KernelGradient(pool, shape, Data(x), errors.data(), d_kernel->typed_data());
  return ffi::Error::Success();
}

// --- The recurrent unit --------------------------------------------------------------

constexpr int kEnvironments = 8;  // of a piece

GruShape ShapeOf(const Flags& is_first, const Floats& state) {
  return {Size(is_first, 0), Size(is_first, 1), Size(state, 1)};
}

// Arguments: projected [T, B, 3 S], is_first [T, B], state [B, S], recurrent kernel
// [S, 3 S] and bias [3 S]. Results: states [T, B, S], and [T, B, 4 S] for the gradient.
ffi::Error GruUnroll(ffi::ThreadPool pool, Floats projected, Flags is_first,
                     Floats state, Floats kernel, Floats bias, FloatsOut states,
                     ffi::RemainingRets saved) {
  const GruShape shape = ShapeOf(is_first, state);
  float* kept = nullptr;
  if (saved.size() > 0) {
    auto result = saved.get<Floats>(0);
    if (result.has_error()) return result.error();
    kept = (*result)->typed_data();
  }
  const GruInputs inputs{projected.typed_data(), is_first.typed_data(),
                         state.typed_data(), kernel.typed_data(), bias.typed_data()};
  GruForward gru(shape, inputs, states->typed_data(), kept);
  const int parts = PiecesOf(shape.size, 16);
  InPieces(pool, parts,
           [&](int part) { gru.Prepare(RangeOf(part, parts, shape.size, 16)); });
  const int pieces = (shape.batch + kEnvironments - 1) / kEnvironments;
  InPieces(pool, pieces,
           [&](int piece) { gru.Compute(RangeOf(piece, pieces, shape.batch, 1)); });
  return ffi::Error::Success();
}

// Arguments: is_first, state, states and what was kept as above, the gradients of the
// states [T, B, S] and of the last one besides [B, S], recurrent kernel. Results: the
// gradients of projected, state, kernel and bias.
ffi::Error GruGradient(ffi::ThreadPool pool, Flags is_first, Floats state,
                       Floats states, Floats saved, Floats errors, Floats last,
                       Floats kernel, FloatsOut d_projected, FloatsOut d_state,
                       FloatsOut d_kernel, FloatsOut d_bias) {
  const GruShape shape = ShapeOf(is_first, state);
  const GruInputs inputs{nullptr, is_first.typed_data(), state.typed_data(),
                         kernel.typed_data(), nullptr};
  GruBackward gru(shape, inputs, states.typed_data(), saved.typed_data(),
                  errors.typed_data(), last.typed_data(),
                  {d_projected->typed_data(), d_state->typed_data()});
  const int parts = PiecesOf(shape.size, 16);
  InPieces(pool, parts,
           [&](int part) { gru.Prepare(RangeOf(part, parts, shape.size, 16)); });
  const int pieces = (shape.batch + kEnvironments - 1) / kEnvironments;
  const int width = 3 * shape.size;
  std::vector<float> sums(static_cast<std::size_t>(pieces) *
                          static_cast<std::size_t>(width));
  InPieces(pool, pieces, [&](int piece) {
    gru.Compute(RangeOf(piece, pieces, shape.batch, 1),
                sums.data() + static_cast<std::size_t>(piece * width));
  });
  AddUp(sums, pieces, width, d_bias->typed_data());
  KernelGradient(pool, gru.shape(), gru.before(), gru.recurrent(),
                 d_kernel->typed_data());
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(kEncoderForward, EncoderForward,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Attr<ffi::Span<const std::int64_t>>("strides")
                           .Attr<std::int64_t>("activation")
                           .Attr<float>("clip")
                           .Arg<Bytes>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .RemainingArgs()
                           .RemainingRets());
XLA_FFI_DEFINE_HANDLER(kEncoderBackward, EncoderBackward,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Attr<ffi::Span<const std::int64_t>>("strides")
                           .Attr<std::int64_t>("activation")
                           .Attr<float>("clip")
                           .Arg<Bytes>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .RemainingArgs()
                           .RemainingRets());
XLA_FFI_DEFINE_HANDLER(kDenseForward, DenseLayer,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Attr<std::int64_t>("activation")
                           .Arg<Halves>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .Ret<ffi::AnyBuffer>());
XLA_FFI_DEFINE_HANDLER(kDenseBackward, DenseBackward,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Attr<std::int64_t>("activation")
                           .Arg<Halves>()
                           .Arg<Halves>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .Ret<Floats>()
                           .Ret<Floats>()
                           .Ret<Floats>());
XLA_FFI_DEFINE_HANDLER(kGruForward, GruUnroll,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Arg<Floats>()
                           .Arg<Flags>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .Ret<Floats>()
                           .RemainingRets());
XLA_FFI_DEFINE_HANDLER(kGruBackward, GruGradient,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Arg<Flags>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .Ret<Floats>()
                           .Ret<Floats>()
                           .Ret<Floats>()
                           .Ret<Floats>());

}  // namespace

std::map<std::string, void*> XlaBf16Handlers() {
  return {
      {"encoder_forward", reinterpret_cast<void*>(kEncoderForward)},
      {"encoder_backward", reinterpret_cast<void*>(kEncoderBackward)},
      {"dense_forward", reinterpret_cast<void*>(kDenseForward)},
      {"dense_backward", reinterpret_cast<void*>(kDenseBackward)},
      {"gru_forward", reinterpret_cast<void*>(kGruForward)},
      {"gru_backward", reinterpret_cast<void*>(kGruBackward)},
  };
}

}  // namespace jaxfactory
