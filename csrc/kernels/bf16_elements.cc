#include "kernels/bf16.h"
#include "kernels/target.h"

#ifdef JAXFACTORY_HAS_AVX512BF16

#include <immintrin.h>

JAXFACTORY_BEGIN_AVX512BF16

#include "kernels/bf16_vectors.h"

namespace jaxfactory {
namespace {

// Applies `vector` to whole vectors and `one` to the remaining values.
template <typename OfVector, typename OfOne>
JAXFACTORY_INLINE void ForEach(std::ptrdiff_t count, OfVector&& vector, OfOne&& one) {
  std::ptrdiff_t i = 0;
  for (; i + kPairLanes <= count; i += kPairLanes) vector(i);
  for (; i < count; ++i) one(i);
}

JAXFACTORY_INLINE Bf16 RoundOne(float x) {
  return static_cast<Bf16>(
      _mm_extract_epi16((__m128i)_mm_cvtneps_pbh(_mm_set_ss(x)), 0));
}

template <Finish kFinish>
void ActivationGradientOf(const Bf16* y, const float* dy, std::ptrdiff_t rows,
                          std::ptrdiff_t channels, Bf16* out, float* sums) {
  const __m512 one = _mm512_set1_ps(1.0F);
  for (std::ptrdiff_t row = 0; row < rows; ++row) {
    for (std::ptrdiff_t c = 0; c < channels; c += kPairLanes) {
      const std::ptrdiff_t at = row * channels + c;
      __m512 d = _mm512_loadu_ps(dy + at);
      if constexpr (kFinish != Finish::kIdentity) {
        const __m512 value = LoadBf16(y + at);
        const __mmask16 positive =
            _mm512_cmp_ps_mask(value, _mm512_setzero_ps(), _CMP_GT_OQ);
        if constexpr (kFinish == Finish::kElu) {
          d = _mm512_mask_blend_ps(positive,
                                   _mm512_mul_ps(d, _mm512_add_ps(value, one)), d);
        } else if constexpr (kFinish == Finish::kRelu) {
          d = _mm512_maskz_mov_ps(positive, d);
        } else {
          d = _mm512_mul_ps(d, _mm512_fnmadd_ps(value, value, one));
        }
      }
      _mm512_storeu_ps(sums + c, _mm512_add_ps(_mm512_loadu_ps(sums + c), d));
      StoreBf16(out + at, d);
    }
  }
}

}  // namespace

void NormalizePixels(const std::uint8_t* image, const float* scale, const float* shift,
                     float clip, std::ptrdiff_t count, Bf16* out) {
  const __m512 high = _mm512_set1_ps(clip), low = _mm512_set1_ps(-clip);
  const auto normalized = [&](__m512i pixels, __m512 by, __m512 and_by) {
    const __m512 x = _mm512_fmadd_ps(_mm512_cvtepi32_ps(pixels), by, and_by);
    return _mm512_max_ps(_mm512_min_ps(x, high), low);
  };
  ForEach(
      count,
      [&](std::ptrdiff_t i) {
        const __m128i bytes =
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(image + i));
        StoreBf16(out + i,
                  normalized(_mm512_cvtepu8_epi32(bytes), _mm512_loadu_ps(scale + i),
                             _mm512_loadu_ps(shift + i)));
      },
      [&](std::ptrdiff_t i) {
        const float x = image[i] * scale[i] + shift[i];
        out[i] = RoundOne(x > clip ? clip : x < -clip ? -clip : x);
      });
}

void Round(const float* from, std::ptrdiff_t count, Bf16* to) {
  ForEach(
      count, [&](std::ptrdiff_t i) { StoreBf16(to + i, _mm512_loadu_ps(from + i)); },
      [&](std::ptrdiff_t i) { to[i] = RoundOne(from[i]); });
}

void Interleave(const Bf16* a, const Bf16* b, std::ptrdiff_t count, Pair* out) {
  ForEach(
      count,
      [&](std::ptrdiff_t i) {
        const __m256i high = b == nullptr ? _mm256_setzero_si256() : LoadHalves(b + i);
        _mm512_storeu_si512(out + i, PairOf(LoadHalves(a + i), high));
      },
      [&](std::ptrdiff_t i) {
        out[i] = a[i] | (b == nullptr ? 0U : static_cast<Pair>(b[i]) << 16);
      });
}

void InterleaveFloats(const float* a, const float* b, std::ptrdiff_t count, Pair* out) {
  ForEach(
      count,
      [&](std::ptrdiff_t i) {
        const __m256i high =
            b == nullptr ? _mm256_setzero_si256() : RoundVector(_mm512_loadu_ps(b + i));
        _mm512_storeu_si512(out + i, PairOf(RoundVector(_mm512_loadu_ps(a + i)), high));
      },
      [&](std::ptrdiff_t i) {
        const Pair high = b == nullptr ? 0U : static_cast<Pair>(RoundOne(b[i])) << 16;
        out[i] = RoundOne(a[i]) | high;
      });
}

void TransposePairs(const float* a, std::ptrdiff_t stride, std::ptrdiff_t pairs,
                    Pair* out, std::ptrdiff_t out_stride) {
  std::ptrdiff_t start = 0;
  for (; start + kPairLanes <= pairs; start += kPairLanes) {
    __m512i block[kPairLanes];
    JAXFACTORY_UNROLL
    for (int i = 0; i < kPairLanes; ++i) {
      const float* from = a + i * stride + 2 * start;
      const __m512i low = _mm512_castsi256_si512(RoundVector(_mm512_loadu_ps(from)));
      block[i] =
          _mm512_inserti64x4(low, RoundVector(_mm512_loadu_ps(from + kPairLanes)), 1);
    }
    Transpose(block);
    JAXFACTORY_UNROLL
    for (int j = 0; j < kPairLanes; ++j) {
      _mm512_storeu_si512(out + (start + j) * out_stride, block[j]);
    }
  }
  for (; start < pairs; ++start) {
    for (int i = 0; i < kPairLanes; ++i) {
      const float* from = a + i * stride + 2 * start;
      out[start * out_stride + i] =
          RoundOne(from[0]) | static_cast<Pair>(RoundOne(from[1])) << 16;
    }
  }
}

void InterleaveTransposed(const Bf16* a, const Bf16* b, std::ptrdiff_t stride,
                          int skipped, int a_rows, int b_rows, std::ptrdiff_t columns,
                          Pair* out) {
  const auto load = [&](const Bf16* from, int row, int end, std::ptrdiff_t column) {
    return row < skipped || row >= end ? _mm256_setzero_si256()
                                       : LoadHalves(from + row * stride + column);
  };
  for (std::ptrdiff_t column = 0; column < columns; column += kPairLanes) {
    __m512i block[kPairLanes];
    JAXFACTORY_UNROLL
    for (int i = 0; i < kPairLanes; ++i) {
      block[i] = PairOf(load(a, i, a_rows, column), load(b, i, b_rows, column));
    }
    Transpose(block);
    JAXFACTORY_UNROLL
    for (int i = 0; i < kPairLanes; ++i) {
      _mm512_storeu_si512(out + (column + i) * kPairLanes, block[i]);
    }
  }
}

void AddTransposed(const float* from, std::ptrdiff_t columns, std::ptrdiff_t stride,
                   float* to) {
  const std::ptrdiff_t width = (columns + kPairLanes - 1) / kPairLanes * kPairLanes;
  for (std::ptrdiff_t column = 0; column < columns; column += kPairLanes) {
    __m512i block[kPairLanes];
    JAXFACTORY_UNROLL
    for (int i = 0; i < kPairLanes; ++i) {
      block[i] = _mm512_loadu_si512(from + i * width + column);
    }
    Transpose(block);
    // In memory, because their number is not known before.
    alignas(64) float rows[kPairLanes][kPairLanes];
    JAXFACTORY_UNROLL
    for (int i = 0; i < kPairLanes; ++i) _mm512_store_si512(rows[i], block[i]);
    for (int i = 0; i < kPairLanes && column + i < columns; ++i) {
      float* at = to + (column + i) * stride;
      _mm512_storeu_ps(at, _mm512_add_ps(_mm512_loadu_ps(at), _mm512_load_ps(rows[i])));
    }
  }
}

void ActivationGradient(const Bf16* y, const float* dy, Finish activation,
                        std::ptrdiff_t rows, std::ptrdiff_t channels, Bf16* out,
                        float* sums) {
  switch (activation) {
    case Finish::kElu:
      return ActivationGradientOf<Finish::kElu>(y, dy, rows, channels, out, sums);
    case Finish::kRelu:
      return ActivationGradientOf<Finish::kRelu>(y, dy, rows, channels, out, sums);
    case Finish::kTanh:
      return ActivationGradientOf<Finish::kTanh>(y, dy, rows, channels, out, sums);
    default:
      return ActivationGradientOf<Finish::kIdentity>(y, dy, rows, channels, out, sums);
  }
}

}  // namespace jaxfactory

JAXFACTORY_END_AVX512BF16

#else  // Not called: `Bf16Supported` is false.

namespace jaxfactory {

void NormalizePixels(const std::uint8_t*, const float*, const float*, float,
                     std::ptrdiff_t, Bf16*) {}
void Round(const float*, std::ptrdiff_t, Bf16*) {}
void Interleave(const Bf16*, const Bf16*, std::ptrdiff_t, Pair*) {}
void InterleaveFloats(const float*, const float*, std::ptrdiff_t, Pair*) {}
void TransposePairs(const float*, std::ptrdiff_t, std::ptrdiff_t, Pair*,
                    std::ptrdiff_t) {}
void InterleaveTransposed(const Bf16*, const Bf16*, std::ptrdiff_t, int, int, int,
                          std::ptrdiff_t, Pair*) {}
void AddTransposed(const float*, std::ptrdiff_t, std::ptrdiff_t, float*) {}
void ActivationGradient(const Bf16*, const float*, Finish, std::ptrdiff_t,
                        std::ptrdiff_t, Bf16*, float*) {}

}  // namespace jaxfactory

#endif  // JAXFACTORY_HAS_AVX512BF16
