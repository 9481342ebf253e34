// Vectors of 16 floats and of 16 pairs of bfloat16 values.
//
// To be included only between JAXFACTORY_BEGIN_AVX512BF16 and its end.
#ifndef JAXFACTORY_KERNELS_BF16_VECTORS_H_
#define JAXFACTORY_KERNELS_BF16_VECTORS_H_

namespace jaxfactory {
namespace {

#define JAXFACTORY_UNROLL _Pragma("GCC unroll 24")
#define JAXFACTORY_INLINE [[gnu::always_inline]] inline

JAXFACTORY_INLINE __m512bh Broadcast(const void* pair) {
  int value;
  __builtin_memcpy(&value, pair, sizeof value);
  return (__m512bh)_mm512_set1_epi32(value);
}

JAXFACTORY_INLINE __m512bh LoadPairs(const Pair* from) {
  return (__m512bh)_mm512_loadu_si512(from);
}

JAXFACTORY_INLINE __m256i RoundVector(__m512 x) {
  return (__m256i)_mm512_cvtneps_pbh(x);
}

JAXFACTORY_INLINE __m512 Widen(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

JAXFACTORY_INLINE __m256i LoadHalves(const Bf16* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

JAXFACTORY_INLINE __m512 LoadBf16(const Bf16* from) { return Widen(LoadHalves(from)); }

JAXFACTORY_INLINE void StoreBf16(Bf16* to, __m512 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), RoundVector(x));
}

// Pairs of the values of two vectors.
JAXFACTORY_INLINE __m512i PairOf(__m256i low, __m256i high) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(low),
                         _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
}

// exp(x), to 2^-22 of its value; 0 below -87. Here and below, x is the second argument
// of minima and maxima, which they return if it is NaN.
JAXFACTORY_INLINE __m512 Exp(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-100.0F), x);
  x = _mm512_min_ps(_mm512_set1_ps(88.0F), x);
  const __m512 t = _mm512_mul_ps(x, _mm512_set1_ps(1.4426950408889634F));
  const __m512 n = _mm512_roundscale_ps(t, 0);
  // The remainder in two parts, because n ln 2 has more digits than a float32.
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375F), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4F), r);
  __m512 p = _mm512_set1_ps(1.0F / 720);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0F / 120));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0F / 24));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0F / 6));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0F));
  return _mm512_scalef_ps(p, n);
}

JAXFACTORY_INLINE __m512 Sigmoid(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0F);
  const __m512 e = Exp(_mm512_sub_ps(_mm512_setzero_ps(), x));
  return _mm512_div_ps(one, _mm512_add_ps(one, e));
}

JAXFACTORY_INLINE __m512 Tanh(__m512 x) {
  const __m512 two = _mm512_set1_ps(2.0F);
  return _mm512_fmsub_ps(two, Sigmoid(_mm512_mul_ps(two, x)), _mm512_set1_ps(1.0F));
}

template <Finish kFinish>
JAXFACTORY_INLINE __m512 Activate(__m512 x) {
  if constexpr (kFinish == Finish::kElu) {
    const __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
    return _mm512_mask_sub_ps(x, negative, Exp(x), _mm512_set1_ps(1.0F));
  } else if constexpr (kFinish == Finish::kRelu) {
    return _mm512_max_ps(_mm512_setzero_ps(), x);
  } else if constexpr (kFinish == Finish::kTanh) {
    return Tanh(x);
  } else {
    return x;
  }
}

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

// Transposes a matrix of 16 rows of 16 values of 32 bits each.
JAXFACTORY_INLINE void Transpose(__m512i rows[kPairLanes]) {
  // Blocks of 1, 2, 4 and 8 values change places.
  __m512i to[kPairLanes];
  JAXFACTORY_UNROLL
  for (int i = 0; i < kPairLanes; i += 2) {
    to[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    to[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  JAXFACTORY_UNROLL
  for (int i = 0; i < kPairLanes; i += 4) {
    JAXFACTORY_UNROLL
    for (int j = 0; j < 2; ++j) {
      rows[i + 2 * j] = _mm512_unpacklo_epi64(to[i + j], to[i + j + 2]);
      rows[i + 2 * j + 1] = _mm512_unpackhi_epi64(to[i + j], to[i + j + 2]);
    }
  }
  JAXFACTORY_UNROLL
  for (int i = 0; i < kPairLanes; i += 8) {
    JAXFACTORY_UNROLL
    for (int j = 0; j < 4; ++j) {
      to[i + j] = _mm512_shuffle_i32x4(rows[i + j], rows[i + j + 4], 0x88);
      to[i + j + 4] = _mm512_shuffle_i32x4(rows[i + j], rows[i + j + 4], 0xdd);
    }
  }
  JAXFACTORY_UNROLL
  for (int j = 0; j < 8; ++j) {
    rows[j] = _mm512_shuffle_i32x4(to[j], to[j + 8], 0x88);
    rows[j + 8] = _mm512_shuffle_i32x4(to[j], to[j + 8], 0xdd);
  }
}

}  // namespace
}  // namespace jaxfactory

#endif  // JAXFACTORY_KERNELS_BF16_VECTORS_H_
