#include <array>
#include <utility>

#include "kernels/bf16.h"
#include "kernels/target.h"

#ifdef JAXFACTORY_HAS_AVX512BF16

#include <immintrin.h>

JAXFACTORY_BEGIN_AVX512BF16

#include "kernels/bf16_vectors.h"

namespace jaxfactory {
namespace {

template <Finish kFinish>
constexpr std::ptrdiff_t kBytes = kFinish <= Finish::kBias ? 4 : 2;

// Finishes the sums of vector `v` of a row.
template <Finish kFinish>
JAXFACTORY_INLINE void Put(__m512 sum, void* row, const float* all_biases, int v) {
  [[maybe_unused]] const float* bias = nullptr;
  if constexpr (kFinish >= Finish::kBias) bias = all_biases + v * kPairLanes;
  void* out = static_cast<char*>(row) + v * kPairLanes * kBytes<kFinish>;
  if constexpr (kFinish == Finish::kStore) {
    _mm512_storeu_ps(out, sum);
  } else if constexpr (kFinish == Finish::kAdd) {
    _mm512_storeu_ps(out, _mm512_add_ps(_mm512_loadu_ps(out), sum));
  } else if constexpr (kFinish == Finish::kBias) {
    _mm512_storeu_ps(out, _mm512_add_ps(sum, _mm512_loadu_ps(bias)));
  } else {
    const __m512 x = _mm512_add_ps(sum, _mm512_loadu_ps(bias));
    StoreBf16(static_cast<Bf16*>(out), Activate<kFinish>(x));
  }
}

template <Finish kFinish, int kRows, int kVectors>
void MultiplyRows(const PairProduct& p) {
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
      Put<kFinish>(sums[i][v], p.out[i], p.bias, v);
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

using MultiplyFunction = void (*)(const PairProduct&);
using ByRows = std::array<MultiplyFunction, kPairRows>;
using ByFinish = std::array<std::array<ByRows, 2>, kFinishes>;

template <Finish kFinish, int... kRows>
constexpr std::array<ByRows, 2> Functions(std::integer_sequence<int, kRows...>) {
  return {{{MultiplyRows<kFinish, kRows + 1, 1>...},
           {MultiplyRows<kFinish, kRows + 1, 2>...}}};
}

template <int... kFinishNumbers>
constexpr ByFinish All(std::integer_sequence<int, kFinishNumbers...>) {
  return {{Functions<static_cast<Finish>(kFinishNumbers)>(
      std::make_integer_sequence<int, kPairRows>())...}};
}

constexpr ByFinish kMultiply = All(std::make_integer_sequence<int, kFinishes>());

}  // namespace

void Multiply(const PairProduct& product, int rows, int vectors, Finish finish) {
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

void Multiply(const PairProduct&, int, int, Finish) {}
void AddOuter(const PairOuterSum&, int, int) {}

}  // namespace jaxfactory

#endif  // JAXFACTORY_HAS_AVX512BF16
