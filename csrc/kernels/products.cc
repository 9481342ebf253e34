#include "kernels/products.h"

#include <atomic>
#include <utility>

#include "kernels/convolution.h"
#include "kernels/instructions.h"

namespace jaxfactory {
namespace {

std::atomic<int> widest{16};

#if defined(__x86_64__)

template <int kLanes>
struct Vector {
  using Type __attribute__((vector_size(kLanes * 4), aligned(4), may_alias)) = float;
};

#define JAXFACTORY_UNROLL _Pragma("GCC unroll 16")

// The vectors' type is always named, never a template's argument: a deduced one would
// lose its attributes, and be loaded as if it were aligned.
//
// What follows is always inlined, so that it is compiled for the instructions of its
// caller. A row of sums is `kVectors` vectors, which stay in registers.
template <int kLanes, int kVectors>
[[gnu::always_inline]] inline void Load(
    const float* from, typename Vector<kLanes>::Type (&row)[kVectors]) {
  JAXFACTORY_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    row[v] = *reinterpret_cast<const typename Vector<kLanes>::Type*>(from + v * kLanes);
  }
}

template <int kLanes, int kVectors>
[[gnu::always_inline]] inline void Store(
    const typename Vector<kLanes>::Type (&row)[kVectors], float* to) {
  JAXFACTORY_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    *reinterpret_cast<typename Vector<kLanes>::Type*>(to + v * kLanes) = row[v];
  }
}

template <int kLanes, int kVectors>
[[gnu::always_inline]] inline void AddScaled(
    float factor, const typename Vector<kLanes>::Type (&row)[kVectors],
    typename Vector<kLanes>::Type (&sum)[kVectors]) {
  JAXFACTORY_UNROLL
  for (int v = 0; v < kVectors; ++v) sum[v] += factor * row[v];
}

template <int kLanes, int kRows, int kVectors>
[[gnu::always_inline]] inline void Multiply(const Product& p) {
  using V = typename Vector<kLanes>::Type;
  V sums[kRows][kVectors];
  JAXFACTORY_UNROLL
  for (int i = 0; i < kRows; ++i) {
    JAXFACTORY_UNROLL
    for (int v = 0; v < kVectors; ++v) sums[i][v] = V{};
  }
  const float* b = p.b;
  const std::ptrdiff_t ldb = p.ldb;
  for (int segment = 0; segment < p.segments; ++segment) {
    const float* a[kRows];
    JAXFACTORY_UNROLL
    for (int i = 0; i < kRows; ++i) a[i] = p.a[i] + segment * p.segment_stride;
    for (std::ptrdiff_t j = 0; j < p.length; ++j, b += ldb) {
      V columns[kVectors];
      Load<kLanes, kVectors>(b, columns);
      JAXFACTORY_UNROLL
      for (int i = 0; i < kRows; ++i)
        AddScaled<kLanes, kVectors>(a[i][j], columns, sums[i]);
    }
  }
  JAXFACTORY_UNROLL
  for (int i = 0; i < kRows; ++i) Store<kLanes, kVectors>(sums[i], p.out[i]);
}

template <int kLanes, int kRows, int kVectors>
[[gnu::always_inline]] inline void AddOuter(const OuterSum& p) {
  using V = typename Vector<kLanes>::Type;
  V sums[kRows][kVectors];
  JAXFACTORY_UNROLL
  for (int i = 0; i < kRows; ++i)
    Load<kLanes, kVectors>(p.out + i * p.out_row, sums[i]);
  for (int image = 0; image < p.images; ++image) {
    for (int row = 0; row < p.rows; ++row) {
      const float* x = p.x + image * p.x_image + row * p.x_row;
      const float* dy = p.dy + image * p.dy_image + row * p.dy_row;
      for (int column = 0; column < p.columns; ++column) {
        V columns[kVectors];
        Load<kLanes, kVectors>(dy, columns);
        JAXFACTORY_UNROLL
        for (int i = 0; i < kRows; ++i)
          AddScaled<kLanes, kVectors>(x[i], columns, sums[i]);
        x += p.x_column;
        dy += p.dy_column;
      }
    }
  }
  JAXFACTORY_UNROLL
  for (int i = 0; i < kRows; ++i)
    Store<kLanes, kVectors>(sums[i], p.out + i * p.out_row);
}

template <int kRows, int kVectors>
__attribute__((target("avx512f"))) void Multiply512(const Product& p) {
  Multiply<16, kRows, kVectors>(p);
}
template <int kRows, int kVectors>
__attribute__((target("avx2,fma"))) void Multiply256(const Product& p) {
  Multiply<8, kRows, kVectors>(p);
}
template <int kVectors>
__attribute__((target("avx512f"))) void AddOuter512(const OuterSum& p) {
  AddOuter<16, 8, kVectors>(p);
}
template <int kVectors>
__attribute__((target("avx2,fma"))) void AddOuter256(const OuterSum& p) {
  AddOuter<8, 4, kVectors>(p);
}

template <int... kRows>
Machine Make512(std::integer_sequence<int, kRows...>) {
  return {16,
          kMaxRows,
          8,
          {{{Multiply512<kRows + 1, 1>...}, {Multiply512<kRows + 1, 2>...}}},
          {AddOuter512<1>, AddOuter512<2>}};
}

template <int... kRows>
Machine Make256(std::integer_sequence<int, kRows...>) {
  return {8,
          6,
          4,
          {{{Multiply256<kRows + 1, 1>...}, {Multiply256<kRows + 1, 2>...}}},
          {AddOuter256<1>, AddOuter256<2>}};
}

#endif

}  // namespace

#if defined(__x86_64__)
const Machine& ThisMachine() {
  static const Machine none;
  static const Machine wide = BestInstructions() >= Instructions::kAvx512
                                  ? Make512(std::make_integer_sequence<int, kMaxRows>())
                                  : none;
  static const Machine narrow = BestInstructions() >= Instructions::kAvx2
                                    ? Make256(std::make_integer_sequence<int, 6>())
                                    : none;
  return widest >= 16 && wide.lanes > 0 ? wide : narrow;
}
#else
const Machine& ThisMachine() {
  static const Machine none;
  return none;
}
#endif

void LimitConvolutionLanes(int lanes) { widest = lanes; }

}  // namespace jaxfactory
