#include "kernels/bf16.h"
#include "kernels/target.h"

#ifdef JAXFACTORY_HAS_AVX512BF16

#include <immintrin.h>

JAXFACTORY_BEGIN_AVX512BF16

#include "kernels/bf16_vectors.h"

namespace jaxfactory {

void GruForwardRow(const GruRow& row, int size) {
  for (int i = 0; i < size; i += kPairLanes) {
    const auto sum = [&](int gate) {
      return _mm512_add_ps(_mm512_loadu_ps(row.projected + gate * size + i),
                           _mm512_loadu_ps(row.recurrent + gate * size + i));
    };
    const __m512 reset = Sigmoid(sum(0)), keep = Sigmoid(sum(1));
    const __m512 part = _mm512_loadu_ps(row.recurrent + 2 * size + i);
    const __m512 candidate = Tanh(
        _mm512_fmadd_ps(reset, part, _mm512_loadu_ps(row.projected + 2 * size + i)));
    const __m512 before = _mm512_loadu_ps(row.before + i);
    _mm512_storeu_ps(
        row.after + i,
        _mm512_fmadd_ps(keep, _mm512_sub_ps(before, candidate), candidate));
    if (row.saved == nullptr) continue;
    _mm512_storeu_ps(row.saved + i, reset);
    _mm512_storeu_ps(row.saved + size + i, keep);
    _mm512_storeu_ps(row.saved + 2 * size + i, candidate);
    _mm512_storeu_ps(row.saved + 3 * size + i, part);
  }
}

void GruGradientOfRow(const GruGradientRow& row, int size) {
  const __m512 one = _mm512_set1_ps(1.0F);
  for (int i = 0; i < size; i += kPairLanes) {
    const __m512 reset = _mm512_loadu_ps(row.saved + i);
    const __m512 keep = _mm512_loadu_ps(row.saved + size + i);
    const __m512 candidate = _mm512_loadu_ps(row.saved + 2 * size + i);
    const __m512 part = _mm512_loadu_ps(row.saved + 3 * size + i);
    const __m512 before = _mm512_loadu_ps(row.before + i);
    const __m512 d = _mm512_add_ps(_mm512_loadu_ps(row.gradient + i),
                                   _mm512_loadu_ps(row.carried + i));
    const __m512 d_keep =
        _mm512_mul_ps(_mm512_mul_ps(d, _mm512_sub_ps(before, candidate)),
                      _mm512_mul_ps(keep, _mm512_sub_ps(one, keep)));
    const __m512 d_candidate =
        _mm512_mul_ps(_mm512_mul_ps(d, _mm512_sub_ps(one, keep)),
                      _mm512_fnmadd_ps(candidate, candidate, one));
    const __m512 d_reset =
        _mm512_mul_ps(_mm512_mul_ps(d_candidate, part),
                      _mm512_mul_ps(reset, _mm512_sub_ps(one, reset)));
    _mm512_storeu_ps(row.carried + i, _mm512_mul_ps(d, keep));
    _mm512_storeu_ps(row.projected + i, d_reset);
    _mm512_storeu_ps(row.recurrent + i, d_reset);
    _mm512_storeu_ps(row.projected + size + i, d_keep);
    _mm512_storeu_ps(row.recurrent + size + i, d_keep);
    _mm512_storeu_ps(row.projected + 2 * size + i, d_candidate);
    _mm512_storeu_ps(row.recurrent + 2 * size + i, _mm512_mul_ps(d_candidate, reset));
  }
}

}  // namespace jaxfactory

JAXFACTORY_END_AVX512BF16

#else  // Not called: `Bf16Supported` is false.

namespace jaxfactory {

void GruForwardRow(const GruRow&, int) {}
void GruGradientOfRow(const GruGradientRow&, int) {}

}  // namespace jaxfactory

#endif  // JAXFACTORY_HAS_AVX512BF16
