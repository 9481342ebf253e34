#include "kernels/gru.h"

#include <algorithm>
#include <cstddef>

#include "kernels/blocks.h"

namespace jaxfactory {
namespace {

// Copies the states before step t of some environments.
void Before(const GruShape& shape, const GruInputs& inputs, const float* states, int t,
            Range batch, float* to) {
  for (int b = batch.begin; b < batch.end; ++b, to += shape.size) {
    if (inputs.is_first[At(t, shape.batch) + b]) {
      std::fill_n(to, shape.size, 0.0F);
    } else {
      const float* from = t == 0 ? inputs.state + At(b, shape.size)
                                 : states + At((t - 1) * shape.batch + b, shape.size);
      std::copy_n(from, shape.size, to);
    }
  }
}

}  // namespace

GruForward::GruForward(const GruShape& shape, const GruInputs& inputs, float* states,
                       float* saved)
    : shape_(shape),
      inputs_(inputs),
      states_(states),
      saved_(saved),
      kernel_(static_cast<std::size_t>(At(shape.size / 2, 3 * shape.size))) {}

void GruForward::Prepare(Range rows) {
  const int width = 3 * shape_.size;
  for (int row = rows.begin; row < rows.end; row += 2) {
    const float* from = inputs_.recurrent_kernel + At(row, width);
    InterleaveFloats(from, from + width, width, kernel_.data() + At(row / 2, width));
  }
}

void GruForward::Compute(Range batch) const {
  const int size = shape_.size, rows = batch.end - batch.begin;
  const auto values = static_cast<std::size_t>(At(rows, size));
  ScratchArray<float> before(values), recurrent(3 * values);
  ScratchArray<Bf16> rounded(values);
  for (int t = 0; t < shape_.steps; ++t) {
    Before(shape_, inputs_, states_, t, batch, before.data());
    Round(before.data(), At(rows, size), rounded.data());
    PairProduct product = RowsBy(rounded.data(), rows, size, kernel_.data(), 3 * size);
    product.out = recurrent.data();
    product.bias = inputs_.recurrent_bias;
    Multiply(product, Finish::kBias);
    for (int i = 0; i < rows; ++i) {
      const int at = t * shape_.batch + batch.begin + i;
      GruRow row{};
      row.projected = inputs_.projected + At(at, 3 * size);
      row.recurrent = recurrent.data() + At(i, 3 * size);
      row.before = before.data() + At(i, size);
      row.after = states_ + At(at, size);
      row.saved = saved_ == nullptr ? nullptr : saved_ + At(at, 4 * size);
      GruForwardRow(row, size);
    }
  }
}

GruBackward::GruBackward(const GruShape& shape, const GruInputs& inputs,
                         const float* states, const float* saved, const float* errors,
                         const GruGradients& gradients)
    : shape_(shape),
      inputs_(inputs),
      states_(states),
      saved_(saved),
      errors_(errors),
      gradients_(gradients),
      kernel_(static_cast<std::size_t>(At(3 * shape.size / 2, shape.size))),
      before_(static_cast<std::size_t>(At(shape.steps * shape.batch, shape.size))),
      recurrent_(3 * before_.size()) {}

void GruBackward::Prepare(Range rows) {
  const int width = 3 * shape_.size;
  for (int row = rows.begin; row < rows.end; row += kPairLanes) {
    TransposePairs(inputs_.recurrent_kernel + At(row, width), width, width / 2,
                   kernel_.data() + row, shape_.size);
  }
}

void GruBackward::Compute(Range batch, float* bias) {
  const int size = shape_.size, rows = batch.end - batch.begin;
  const auto values = static_cast<std::size_t>(At(rows, size));
  ScratchArray<float> before(values), recurrent(3 * values);
  float* carried = gradients_.state + At(batch.begin, size);
  std::fill_n(carried, values, 0.0F);
  for (int t = shape_.steps; t-- > 0;) {
    const int start = t * shape_.batch + batch.begin;
    Before(shape_, inputs_, states_, t, batch, before.data());
    Round(before.data(), At(rows, size), before_.data() + At(start, size));
    for (int i = 0; i < rows; ++i) {
      GruGradientRow row{};
      row.saved = saved_ + At(start + i, 4 * size);
      row.before = before.data() + At(i, size);
      row.gradient = errors_ + At(start + i, size);
      row.carried = carried + At(i, size);
      row.projected = gradients_.projected + At(start + i, 3 * size);
      row.recurrent = recurrent.data() + At(i, 3 * size);
      GruGradientOfRow(row, size);
    }
    Bf16* rounded = recurrent_.data() + At(start, 3 * size);
    ActivationGradient(nullptr, recurrent.data(), Finish::kIdentity, rows, 3 * size,
                       rounded, bias);
    PairProduct product = RowsBy(rounded, rows, 3 * size, kernel_.data(), size);
    product.out = carried;
    Multiply(product, Finish::kAdd);
    for (int i = 0; i < rows; ++i) {
      // The state before an episode does not matter to it.
      if (inputs_.is_first[start + i]) std::fill_n(carried + At(i, size), size, 0.0F);
    }
  }
}

DenseShape GruBackward::shape() const {
  return {shape_.steps * shape_.batch, shape_.size, 3 * shape_.size};
}

}  // namespace jaxfactory
