#include "kernels/image_encoder.h"

#include <algorithm>

#include "kernels/blocks.h"
#include "kernels/kernel_gradient.h"

namespace jaxfactory {
namespace {

// Images whose kernel gradients are summed in one go: their pairs stay in the L2 cache.
constexpr int kTogether = 4;

std::ptrdiff_t Signed(std::size_t size) { return static_cast<std::ptrdiff_t>(size); }

}  // namespace

ImageEncoder::ImageEncoder(const std::vector<ConvLayer>& layers, Finish activation,
                           bool gradient)
    : layers_(layers), activation_(activation) {
  for (const ConvLayer& layer : layers_) {
    const ConvShape& shape = layer.shape;
    const int length = shape.patch_row(), outputs = shape.outputs;
    gradients_ += shape.kernel() + static_cast<std::size_t>(outputs);

    ScratchArray<Pair>& pairs = kernels_.emplace_back(shape.kernel() / 2);
    for (int row = 0; row < shape.size * length / 2; ++row) {
      const float* from = layer.kernel + std::ptrdiff_t{2} * row * outputs;
      InterleaveFloats(from, from + outputs, outputs,
                       pairs.data() + static_cast<std::ptrdiff_t>(row) * outputs);
    }
    ScratchArray<Pair>& transposed = transposed_.emplace_back();
    if (!gradient || transposed_.size() == 1) continue;
    transposed.resize(shape.kernel() / 2);
    for (int row = 0; row < shape.size; ++row) {
      for (int j = 0; j < length; j += kPairLanes) {
        const std::ptrdiff_t start = static_cast<std::ptrdiff_t>(row) * length;
        TransposePairs(layer.kernel + (start + j) * outputs, outputs, outputs / 2,
                       transposed.data() + start * outputs / 2 + j, length);
      }
    }
  }
}

void ImageEncoder::Layer(std::size_t index, const Bf16* image, Bf16* result) const {
  const ConvLayer& layer = layers_[index];
  const ConvShape& shape = layer.shape;
  PairProduct product{};
  product.a = image;
  product.lines = shape.rows();
  product.rows = shape.columns();
  product.a_segment = At(shape.width, shape.channels);
  product.a_line = shape.stride * product.a_segment;
  product.a_row = At(shape.stride, shape.channels);
  product.segments = shape.size;
  product.pairs = shape.patch_row() / 2;
  product.b = kernels_[index].data();
  product.panels = 1;
  product.columns = shape.outputs;
  product.b_row = shape.outputs;
  product.out = result;
  product.out_line = At(shape.columns(), shape.outputs);
  product.out_row = shape.outputs;
  product.bias = layer.bias;
  Multiply(product, activation_);
}

void ImageEncoder::Forward(const Pixels& pixels, int first, int last) const {
  const std::size_t size = layers_.front().shape.image();
  ScratchArray<Bf16> normalized(size);
  std::vector<ScratchArray<Bf16>> between(layers_.size());
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    if (layers_[i].result == nullptr) between[i].resize(layers_[i].shape.output());
  }
  for (int image = first; image < last; ++image) {
    const auto number = static_cast<std::size_t>(image);
    NormalizePixels(pixels.values + number * size, pixels.scale, pixels.shift,
                    pixels.clip, Signed(size), normalized.data());
    const Bf16* from = normalized.data();
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const ConvLayer& layer = layers_[i];
      Bf16* to = layer.result == nullptr ? between[i].data()
                                         : layer.result + number * layer.shape.output();
      Layer(i, from, to);
      from = to;
    }
  }
}

// What is computed of a few images before their kernel gradients.
struct ImageEncoder::Scratch {
  explicit Scratch(const std::vector<ConvLayer>& layers)
      : normalized(2 * layers.front().shape.image()) {
    std::size_t largest = 0;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const ConvShape& shape = layers[i].shape;
      kernels.emplace_back(shape, kTogether / 2);
      if (i > 0) largest = std::max(largest, shape.image());
      rounded[0].resize(std::max(rounded[0].size(), shape.output()));
    }
    rounded[1].resize(rounded[0].size());
    gradient.resize(2 * largest);
  }

  ScratchArray<Bf16> normalized;
  ScratchArray<Bf16> rounded[2];  // the errors of one layer
  ScratchArray<float> gradient;   // of one layer's images
  std::vector<KernelGradientSum> kernels;
};

void ImageEncoder::Backward(const Pixels& pixels, const float* errors, int first,
                            int last, float* sums) const {
  Scratch scratch(layers_);
  std::vector<float*> kernels, biases;
  float* at = sums;
  for (const ConvLayer& layer : layers_) {
    kernels.push_back(at);
    biases.push_back(at + layer.shape.kernel());
    at = biases.back() + layer.shape.outputs;
  }
  const std::size_t size = layers_.front().shape.image();
  for (int start = first; start < last; start += kTogether) {
    const int count = std::min(kTogether, last - start);
    for (int image = start; image < start + count; image += 2) {
      const int both = std::min(2, last - image);
      for (int i = 0; i < both; ++i) {
        NormalizePixels(pixels.values + static_cast<std::size_t>(image + i) * size,
                        pixels.scale, pixels.shift, pixels.clip, Signed(size),
                        scratch.normalized.data() + static_cast<std::size_t>(i) * size);
      }
      for (std::size_t layer = layers_.size(); layer-- > 0;) {
        const ConvShape& shape = layers_[layer].shape;
        const std::size_t in = shape.image(), out = shape.output();
        const Bf16* from[2] = {nullptr, nullptr};
        for (int i = 0; i < both; ++i) {
          const std::size_t number =
              static_cast<std::size_t>(image) + static_cast<std::size_t>(i);
          const float* dy =
              layer + 1 == layers_.size()
                  ? errors + number * out
                  : scratch.gradient.data() + static_cast<std::size_t>(i) * out;
          ActivationGradient(
              layers_[layer].result + number * out, dy, activation_,
              static_cast<std::ptrdiff_t>(shape.rows()) * shape.columns(),
              shape.outputs, scratch.rounded[i].data(), biases[layer]);
          from[i] = layer == 0
                        ? scratch.normalized.data() + static_cast<std::size_t>(i) * in
                        : layers_[layer - 1].result + number * in;
        }
        const Bf16* rounded[2] = {scratch.rounded[0].data(),
                                  both == 2 ? scratch.rounded[1].data() : nullptr};
        scratch.kernels[layer].Set((image - start) / 2, from, rounded);
        if (layer == 0) break;
        for (int i = 0; i < both; ++i) {
          ImageGradient(layer, scratch.rounded[i].data(),
                        scratch.gradient.data() + static_cast<std::size_t>(i) * in);
        }
      }
    }
    for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
      scratch.kernels[layer].Add((count + 1) / 2, kernels[layer]);
    }
  }
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    scratch.kernels[layer].Finish(kernels[layer]);
  }
}

void ImageEncoder::ImageGradient(std::size_t index, const Bf16* errors,
                                 float* to) const {
  const ConvShape& shape = layers_[index].shape;
  const std::ptrdiff_t line = At(shape.width, shape.channels);
  const int length = shape.patch_row();
  std::fill_n(to, shape.image(), 0.0F);
  PairProduct product{};
  product.a = errors;
  product.lines = shape.rows();
  product.rows = shape.columns();
  product.a_line = At(shape.columns(), shape.outputs);
  product.a_row = shape.outputs;
  product.segments = 1;
  product.pairs = shape.outputs / 2;
  // One panel for each row of the kernel.
  product.b = transposed_[index].data();
  product.panels = shape.size;
  product.columns = length;
  product.b_panel = At(length, shape.outputs / 2);
  product.b_row = length;
  product.out = to;
  product.out_line = shape.stride * line;
  product.out_row = At(shape.stride, shape.channels);
  product.out_panel = line;
  Multiply(product, Finish::kAdd);
}

}  // namespace jaxfactory
