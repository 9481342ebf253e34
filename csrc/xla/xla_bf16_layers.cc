#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/bf16.h"
#include "kernels/dense.h"
#include "kernels/gru.h"
#include "kernels/instructions.h"
#include "kernels/scratch.h"
#include "xla/bf16_arrays.h"
#include "xla/ffi/api/ffi.h"
#include "xla/xla_bf16.h"

namespace jaxfactory {
namespace {

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

// Arguments: x [M, K] and the layer's result y [M, N], bfloat16, its gradient [M, N],
// kernel [K, N]. Results: the gradients of x [M, K], kernel and bias.
ffi::Error DenseBackward(ffi::ThreadPool pool, std::int64_t activation, Halves x,
                         Halves y, Floats dy, Floats kernel, FloatsOut dx,
                         FloatsOut d_kernel, FloatsOut d_bias) {
  const DenseShape shape{Size(x, 0), Size(x, 1), Size(kernel, 1)};
  const auto columns = static_cast<std::size_t>(shape.outputs);
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
  AddUp(sums.data(), pieces, columns, d_bias->typed_data());
  const int across = PiecesOf(shape.inputs, 32);
  InPieces(pool, across, [&](int piece) {
    DenseInputGradient(shape, errors.data(), kernel.typed_data(),
                       RangeOf(piece, across, shape.inputs, 16), dx->typed_data());
  });
  KernelGradient(pool, shape, Data(x), errors.data(), d_kernel->typed_data());
  return ffi::Error::Success();
}

// --- The recurrent unit --------------------------------------------------------------

// Environments of a piece. A tile has 16 rows, and the kernel is read for each piece.
int Environments() { return BestInstructions() >= Instructions::kAmx ? 16 : 8; }

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
  const int pieces = (shape.batch + Environments() - 1) / Environments();
  InPieces(pool, pieces,
           [&](int piece) { gru.Compute(RangeOf(piece, pieces, shape.batch, 1)); });
  return ffi::Error::Success();
}

// Arguments: is_first, state, states and what was kept as above, the gradients of the
// states [T, B, S], recurrent kernel. Results: the gradients of projected, state,
// kernel and bias.
ffi::Error GruGradient(ffi::ThreadPool pool, Flags is_first, Floats state,
                       Floats states, Floats saved, Floats errors, Floats kernel,
                       FloatsOut d_projected, FloatsOut d_state, FloatsOut d_kernel,
                       FloatsOut d_bias) {
  const GruShape shape = ShapeOf(is_first, state);
  const GruInputs inputs{nullptr, is_first.typed_data(), state.typed_data(),
                         kernel.typed_data(), nullptr};
  GruBackward gru(shape, inputs, states.typed_data(), saved.typed_data(),
                  errors.typed_data(),
                  {d_projected->typed_data(), d_state->typed_data()});
  const int parts = PiecesOf(shape.size, 16);
  InPieces(pool, parts,
           [&](int part) { gru.Prepare(RangeOf(part, parts, shape.size, 16)); });
  const int pieces = (shape.batch + Environments() - 1) / Environments();
  const int width = 3 * shape.size;
  std::vector<float> sums(static_cast<std::size_t>(pieces) *
                          static_cast<std::size_t>(width));
  InPieces(pool, pieces, [&](int piece) {
    gru.Compute(RangeOf(piece, pieces, shape.batch, 1),
                sums.data() + static_cast<std::size_t>(piece * width));
  });
  AddUp(sums.data(), pieces, static_cast<std::size_t>(width), d_bias->typed_data());
  KernelGradient(pool, gru.shape(), gru.before(), gru.recurrent(),
                 d_kernel->typed_data());
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(kDenseForward, Guarded<DenseLayer>{},
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Attr<std::int64_t>("activation")
                           .Arg<Halves>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .Ret<ffi::AnyBuffer>());
XLA_FFI_DEFINE_HANDLER(kDenseBackward, Guarded<DenseBackward>{},
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
XLA_FFI_DEFINE_HANDLER(kGruForward, Guarded<GruUnroll>{},
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Arg<Floats>()
                           .Arg<Flags>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .Ret<Floats>()
                           .RemainingRets());
XLA_FFI_DEFINE_HANDLER(kGruBackward, Guarded<GruGradient>{},
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Arg<Flags>()
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

std::map<std::string, void*> XlaLayerHandlers() {
  return {
      {"dense_forward", reinterpret_cast<void*>(kDenseForward)},
      {"dense_backward", reinterpret_cast<void*>(kDenseBackward)},
      {"gru_forward", reinterpret_cast<void*>(kGruForward)},
      {"gru_backward", reinterpret_cast<void*>(kGruBackward)},
  };
}

}  // namespace jaxfactory
