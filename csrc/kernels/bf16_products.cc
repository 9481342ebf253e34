#include <array>
#include <utility>

#include "kernels/bf16_rows.h"
#include "kernels/target.h"

#ifdef JAXFACTORY_HAS_AVX512BF16

#include <immintrin.h>

JAXFACTORY_BEGIN_AVX512BF16

#include "kernels/bf16_vectors.h"

namespace jaxfactory {
namespace {

template <Finish kFinish, int kRows, int kVectors>
void MultiplyRowsBy(const RowsProduct& p) {
  __m512 sums[kRows][kVectors];
  JAXFACTORY_UNROLL
  for (int i = 0; i < kRows; ++i) {
    JAXFACTORY_UNROLL
    for (int v = 0; v < kVectors; ++v) sums[i][v] = _mm512_setzero_ps();
  }
  const Pair* b = p.b;
  const std::ptrdiff_t ldb = p.ldb;
  for (int segment = 0; segment < p.segments; ++segment) {
    const Bf16* a[kRows];
    JAXFACTORY_UNROLL
    for (int i = 0; i < kRows; ++i) a[i] = p.a[i] + segment * p.segment_stride;
    for (std::ptrdiff_t j = 0; j < p.pairs; ++j, b += ldb) {
      __m512bh columns[kVectors];
      JAXFACTORY_UNROLL
      for (int v = 0; v < kVectors; ++v) columns[v] = LoadPairs(b + v * kPairLanes);
      JAXFACTORY_UNROLL
      for (int i = 0; i < kRows; ++i) {
        const __m512bh value = Broadcast(a[i] + 2 * j);
        JAXFACTORY_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          sums[i][v] = _mm512_dpbf16_ps(sums[i][v], value, columns[v]);
        }
      }
    }
  }
  JAXFACTORY_UNROLL
  for (int i = 0; i < kRows; ++i) {
    JAXFACTORY_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      // Rows may overlap where they are added to, so they are finished in turn.
      Put<kFinish>(sums[i][v], static_cast<char*>(p.out[i]) + p.out_offset, p.bias, v);
    }
  }
}

template <int kRows, int kVectors>
void AddOuterRows(const PairOuterSum& p) {
  __m512 sums[kRows][kVectors];
  JAXFACTORY_UNROLL
  for (int i = 0; i < kRows; ++i) {
    JAXFACTORY_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      sums[i][v] = _mm512_loadu_ps(p.out + i * p.out_row + v * kPairLanes);
    }
  }
  for (int block = 0; block < p.blocks; ++block) {
    for (int row = 0; row < p.rows; ++row) {
      const Pair* x = p.x + block * p.x_block + row * p.x_row;
      const Pair* dy = p.dy + block * p.dy_block + row * p.dy_row;
      for (int column = 0; column < p.columns; ++column) {
        __m512bh columns[kVectors];
        JAXFACTORY_UNROLL
        for (int v = 0; v < kVectors; ++v) columns[v] = LoadPairs(dy + v * kPairLanes);
        JAXFACTORY_UNROLL
        for (int i = 0; i < kRows; ++i) {
          const __m512bh value = Broadcast(x + i);
          JAXFACTORY_UNROLL
          for (int v = 0; v < kVectors; ++v) {
            sums[i][v] = _mm512_dpbf16_ps(sums[i][v], value, columns[v]);
          }
        }
        x += p.x_column;
        dy += p.dy_column;
      }
    }
  }
  JAXFACTORY_UNROLL
  for (int i = 0; i < kRows; ++i) {
    JAXFACTORY_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      _mm512_storeu_ps(p.out + i * p.out_row + v * kPairLanes, sums[i][v]);
    }
  }
}

using MultiplyFunction = void (*)(const RowsProduct&);
using ByRows = std::array<MultiplyFunction, kPairRows>;
using ByFinish = std::array<std::array<ByRows, 2>, kFinishes>;

template <Finish kFinish, int... kRows>
constexpr std::array<ByRows, 2> Functions(std::integer_sequence<int, kRows...>) {
  return {{{MultiplyRowsBy<kFinish, kRows + 1, 1>...},
           {MultiplyRowsBy<kFinish, kRows + 1, 2>...}}};
}

template <int... kFinishNumbers>
constexpr ByFinish All(std::integer_sequence<int, kFinishNumbers...>) {
  return {{Functions<static_cast<Finish>(kFinishNumbers)>(
      std::make_integer_sequence<int, kPairRows>())...}};
}

constexpr ByFinish kMultiply = All(std::make_integer_sequence<int, kFinishes>());

}  // namespace

void MultiplyRows(const RowsProduct& product, int rows, int vectors, Finish finish) {
  kMultiply[static_cast<std::size_t>(finish)][static_cast<std::size_t>(vectors - 1)]
           [static_cast<std::size_t>(rows - 1)](product);
}

void AddOuter(const PairOuterSum& sum, int rows, int vectors) {
  if (vectors == 2) {
    rows == 8 ? AddOuterRows<8, 2>(sum) : AddOuterRows<12, 2>(sum);
  } else if (rows == 24) {
    AddOuterRows<24, 1>(sum);
  } else {
    rows == 8 ? AddOuterRows<8, 1>(sum) : AddOuterRows<12, 1>(sum);
  }
}

}  // namespace jaxfactory

JAXFACTORY_END_AVX512BF16

#else  // Not called: `Bf16Supported` is false.

namespace jaxfactory {

void MultiplyRows(const RowsProduct&, int, int, Finish) {}
void AddOuter(const PairOuterSum&, int, int) {}

}  // namespace jaxfactory

#endif  // JAXFACTORY_HAS_AVX512BF16
