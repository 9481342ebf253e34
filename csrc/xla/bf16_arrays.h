// Arrays of XLA, and sharing work on them, for the bfloat16 kernels.
#ifndef JAXFACTORY_XLA_BF16_ARRAYS_H_
#define JAXFACTORY_XLA_BF16_ARRAYS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/bf16.h"
#include "kernels/dense.h"
#include "xla/ffi/api/ffi.h"
#include "xla/pieces.h"

namespace jaxfactory {

namespace ffi = xla::ffi;

using Floats = ffi::Buffer<ffi::F32>;
using FloatsOut = ffi::Result<Floats>;
using Halves = ffi::Buffer<ffi::BF16>;
using HalvesOut = ffi::Result<Halves>;
using Bytes = ffi::Buffer<ffi::U8>;
using Flags = ffi::Buffer<ffi::PRED>;

inline const Bf16* Data(const Halves& array) {
  return reinterpret_cast<const Bf16*>(array.typed_data());
}
inline Bf16* Data(HalvesOut& array) {
  return reinterpret_cast<Bf16*>(array->typed_data());
}

template <typename Array>
int Size(const Array& array, std::size_t axis) {
  return static_cast<int>(array.dimensions()[axis]);
}

// Cuts `count` into at most `most` ranges whose borders are multiples of `unit`.
inline Range RangeOf(int piece, int pieces, int count, int unit) {
  const int units = (count + unit - 1) / unit;
  return {std::min(count, FirstOf(piece, pieces, units) * unit),
          std::min(count, FirstOf(piece + 1, pieces, units) * unit)};
}

inline int PiecesOf(int count, int unit) {
  return std::min(kPieces, (count + unit - 1) / unit);
}

// x^T @ errors, a kernel's gradient.
inline void KernelGradient(ffi::ThreadPool& pool, const DenseShape& shape,
                           const Bf16* x, const Bf16* errors, float* out) {
  DenseKernelGradient gradient(shape, x, errors);
  InPieces(pool, gradient.parts(), [&](int part) { gradient.Prepare(part); });
  const int pieces = PiecesOf(shape.inputs, 48);
  InPieces(pool, pieces, [&](int piece) {
    gradient.Compute(RangeOf(piece, pieces, shape.inputs, 16), out);
  });
}

// Adds up the parts that pieces computed, `size` values each; `out` may be the first.
inline void AddUp(const float* parts, int pieces, std::size_t size, float* out) {
  std::copy_n(parts, parts == out ? 0 : size, out);
  for (int piece = 1; piece < pieces; ++piece) {
    const float* part = parts + static_cast<std::size_t>(piece) * size;
    for (std::size_t i = 0; i < size; ++i) out[i] += part[i];
  }
}

}  // namespace jaxfactory

#endif  // JAXFACTORY_XLA_BF16_ARRAYS_H_
