// The bfloat16 kernels against plain loops; of small integers, so that results are
// equal, and from several threads.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kernels/bf16.h"
#include "kernels/dense.h"
#include "kernels/gru.h"
#include "kernels/image_encoder.h"
#include "tests/check.h"

namespace jaxfactory {
namespace {

std::mt19937 random_bits(0);

// Integers, of which most are 0.
std::vector<float> Sparse(std::size_t count) {
  std::vector<float> values(count);
  for (float& value : values) {
    const unsigned draw = random_bits() % 16;
    value = draw == 0 ? 1.0F : draw == 1 ? -1.0F : 0.0F;
  }
  return values;
}

std::vector<Bf16> Rounded(const std::vector<float>& values) {
  std::vector<Bf16> to(values.size());
  Round(values.data(), static_cast<std::ptrdiff_t>(values.size()), to.data());
  return to;
}

float Widened(Bf16 value) {
  const std::uint32_t bits = static_cast<std::uint32_t>(value) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

void InThreads(int count, const std::function<void(int)>& work) {
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
}

struct Stack {
  int images;
  std::vector<ConvShape> shapes;
};

// A layer by loops: results, and the gradients of kernel, bias and images.
struct Plain {
  std::vector<float> y, dk, db, dx;
};

Plain Convolve(const ConvShape& shape, int images, const std::vector<float>& x,
               const std::vector<float>& kernel, const std::vector<float>& bias,
               const std::vector<float>* dy) {
  Plain result;
  result.y.resize(static_cast<std::size_t>(images) * shape.output());
  result.dk.resize(shape.kernel());
  result.db.resize(static_cast<std::size_t>(shape.outputs));
  result.dx.resize(x.size());
  for (int n = 0; n < images; ++n) {
    for (int p = 0; p < shape.rows(); ++p) {
      for (int q = 0; q < shape.columns(); ++q) {
        for (int o = 0; o < shape.outputs; ++o) {
          const auto at = static_cast<std::size_t>(
              ((n * shape.rows() + p) * shape.columns() + q) * shape.outputs + o);
          float sum = bias[static_cast<std::size_t>(o)];
          const auto each = [&](auto&& action) {
            for (int i = 0; i < shape.size; ++i) {
              for (int j = 0; j < shape.size * shape.channels; ++j) {
                action(static_cast<std::size_t>(
                           ((n * shape.height + p * shape.stride + i) * shape.width +
                            q * shape.stride) *
                               shape.channels +
                           j),
                       static_cast<std::size_t>(
                           (i * shape.size * shape.channels + j) * shape.outputs + o));
              }
            }
          };
          each([&](std::size_t a, std::size_t b) { sum += x[a] * kernel[b]; });
          result.y[at] = std::max(sum, 0.0F);
          if (dy == nullptr || sum <= 0) continue;
          const float error = (*dy)[at];
          result.db[static_cast<std::size_t>(o)] += error;
          each([&](std::size_t a, std::size_t b) {
            result.dk[b] += x[a] * error;
            result.dx[a] += kernel[b] * error;
          });
        }
      }
    }
  }
  return result;
}

void TestEncoder(const Stack& stack) {
  const auto count = static_cast<std::size_t>(stack.images);
  const std::size_t pixels = stack.shapes.front().image();
  std::vector<std::uint8_t> images(count * pixels);
  for (std::uint8_t& pixel : images) pixel = random_bits() % 3;
  const std::vector<float> scale(pixels, 1.0F), shift(pixels, -1.0F);

  std::vector<std::vector<float>> kernels, biases, inputs;
  std::vector<std::vector<Bf16>> results;
  std::vector<float> x(images.begin(), images.end());
  for (float& value : x) value -= 1.0F;
  for (const ConvShape& shape : stack.shapes) {
    kernels.push_back(Sparse(shape.kernel()));
    biases.push_back(Sparse(static_cast<std::size_t>(shape.outputs)));
    results.emplace_back(count * shape.output());
    inputs.push_back(x);
    x = Convolve(shape, stack.images, x, kernels.back(), biases.back(), nullptr).y;
  }
  std::vector<ConvLayer> layers(stack.shapes.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers[i] = {stack.shapes[i], kernels[i].data(), biases[i].data(),
                 results[i].data()};
  }
  const Pixels source{images.data(), scale.data(), shift.data(), 100.0F};
  const ImageEncoder encoder(layers, Finish::kRelu, true);
  const int threads = 3;
  const auto share = [&](int thread) { return stack.images * thread / threads; };
  InThreads(threads, [&](int thread) {
    encoder.Forward(source, share(thread), share(thread + 1));
  });
  for (std::size_t i = 0; i < x.size(); ++i) {
    CHECK(Widened(results.back()[i]) == x[i]);
  }

  std::vector<float> errors = Sparse(x.size());
  std::vector<std::vector<float>> sums(threads,
                                       std::vector<float>(encoder.gradients()));
  InThreads(threads, [&](int thread) {
    encoder.Backward(source, errors.data(), share(thread), share(thread + 1),
                     sums[static_cast<std::size_t>(thread)].data());
  });
  std::size_t end = encoder.gradients();
  for (std::size_t i = layers.size(); i-- > 0;) {
    const Plain plain = Convolve(stack.shapes[i], stack.images, inputs[i], kernels[i],
                                 biases[i], &errors);
    std::vector<float> both = plain.dk;
    both.insert(both.end(), plain.db.begin(), plain.db.end());
    end -= both.size();
    for (std::size_t j = 0; j < both.size(); ++j) {
      CHECK(sums[0][end + j] + sums[1][end + j] + sums[2][end + j] == both[j]);
    }
    errors = plain.dx;
  }
}

void TestDense(int rows, int inputs, int outputs) {
  const DenseShape shape{rows, inputs, outputs};
  const auto size = [](int a, int b) { return static_cast<std::size_t>(a) * b; };
  const std::vector<float> x = Sparse(size(rows, inputs));
  const std::vector<float> kernel = Sparse(size(inputs, outputs));
  const std::vector<float> bias = Sparse(size(outputs, 1));
  const std::vector<float> errors = Sparse(size(rows, outputs));
  const std::vector<Bf16> half = Rounded(x), half_errors = Rounded(errors);
  std::vector<float> y(errors.size()), dx(x.size()), dk(kernel.size());
  std::vector<float> wanted_y(y.size()), wanted_dx(dx.size()), wanted_dk(dk.size());
  for (int m = 0; m < rows; ++m) {
    for (int n = 0; n < outputs; ++n) {
      float& sum = wanted_y[size(m, outputs) + n];
      sum = bias[static_cast<std::size_t>(n)];
      for (int k = 0; k < inputs; ++k) {
        const float error = errors[size(m, outputs) + n];
        sum += x[size(m, inputs) + k] * kernel[size(k, outputs) + n];
        wanted_dx[size(m, inputs) + k] += error * kernel[size(k, outputs) + n];
        wanted_dk[size(k, outputs) + n] += error * x[size(m, inputs) + k];
      }
    }
  }
  DenseKernelGradient gradient(shape, half.data(), half_errors.data());
  InThreads(2, [&](int thread) {
    const int middle = outputs / 32 * 16;
    const Range columns = thread == 0 ? Range{0, middle} : Range{middle, outputs};
    if (columns.begin < columns.end) {
      DenseForward(shape, half.data(), kernel.data(), bias.data(), Finish::kBias,
                   {0, rows}, columns, y.data());
    }
    for (int part = thread; part < gradient.parts(); part += 2) gradient.Prepare(part);
  });
  InThreads(2, [&](int thread) {
    const int middle = inputs / 32 * 16;
    const Range part = thread == 0 ? Range{0, middle} : Range{middle, inputs};
    if (part.begin == part.end) return;
    DenseInputGradient(shape, half_errors.data(), kernel.data(), part, dx.data());
    gradient.Compute(part, dk.data());
  });
  CHECK(y == wanted_y);
  CHECK(dx == wanted_dx);
  CHECK(dk == wanted_dk);
}

// The gradient of the sum of all states with respect to the first state and the bias,
// against differences.
void TestGru(int steps, int batch, int size) {
  const GruShape shape{steps, batch, size};
  const auto count = [](int a, int b) { return static_cast<std::size_t>(a) * b; };
  const auto normal = [](std::size_t values, float scale) {
    std::normal_distribution<float> draw(0, scale);
    std::vector<float> to(values);
    for (float& value : to) value = draw(random_bits);
    return to;
  };
  const std::vector<float> projected = normal(count(steps * batch, 3 * size), 1);
  const std::vector<float> kernel = normal(count(size, 3 * size), 0.3F);
  std::vector<float> state = normal(count(batch, size), 1);
  std::vector<float> bias = normal(count(3, size), 1);
  const std::unique_ptr<bool[]> first(new bool[count(steps, batch)]());
  first[count(steps, batch) - 1] = true;
  const GruInputs inputs{projected.data(), first.get(), state.data(), kernel.data(),
                         bias.data()};
  const auto run = [&](std::vector<float>* saved) {
    std::vector<float> states(count(steps * batch, size));
    GruForward gru(shape, inputs, states.data(), saved ? saved->data() : nullptr);
    gru.Prepare({0, size});
    InThreads(2, [&](int thread) {
      for (int b = thread; b < batch; b += 2) gru.Compute({b, b + 1});
    });
    return states;
  };
  std::vector<float> saved(count(steps * batch, 4 * size));
  const std::vector<float> states = run(&saved);
  const std::vector<float> ones(states.size(), 1.0F);
  std::vector<float> d_projected(projected.size()), d_state(state.size());
  std::vector<std::vector<float>> d_bias(2, std::vector<float>(bias.size()));
  GruBackward backward(shape, inputs, states.data(), saved.data(), ones.data(),
                       {d_projected.data(), d_state.data()});
  backward.Prepare({0, size});
  InThreads(2, [&](int thread) {
    for (int b = thread; b < batch; b += 2) {
      backward.Compute({b, b + 1}, d_bias[static_cast<std::size_t>(thread)].data());
    }
  });
  const auto total = [&] {
    double sum = 0;
    for (const float value : run(nullptr)) sum += value;
    return sum;
  };
  const auto difference = [&](float& value) {
    const float middle = value, step = 0.2F;
    value = middle + step;
    const double high = total();
    value = middle - step;
    const double low = total();
    value = middle;
    return (high - low) / (2 * step);
  };
  // Factors are rounded to 8 bits, so differences are rough.
  for (const std::size_t i : {std::size_t{0}, bias.size() / 2, bias.size() - 1}) {
    CHECK(std::abs(difference(bias[i]) - (d_bias[0][i] + d_bias[1][i])) <
          0.1 * std::sqrt(steps * batch));
  }
  CHECK(std::abs(difference(state[0]) - d_state[0]) < 0.3);
}

}  // namespace
}  // namespace jaxfactory

// The argument is the name of the instructions that are to be tested.
int main(int count, char** arguments) {
  using jaxfactory::Stack;
  if (!jaxfactory::Bf16Supported()) return 0;
  CHECK(count == 2);
  CHECK(std::string(jaxfactory::Bf16Instructions()) == arguments[1]);
  jaxfactory::TestEncoder(
      Stack{7, {{0, 17, 21, 8, 3, 2, 16}, {0, 8, 10, 16, 2, 1, 48}}});
  jaxfactory::TestEncoder(Stack{3, {{0, 12, 20, 3, 8, 4, 16}}});
  jaxfactory::TestEncoder(Stack{10, {{0, 9, 9, 4, 4, 5, 32}, {0, 2, 2, 32, 1, 1, 16}}});
  // More positions in a line than a tile has rows, and sums over them in three chunks.
  jaxfactory::TestEncoder(
      Stack{5, {{0, 20, 76, 3, 8, 4, 16}, {0, 4, 18, 16, 2, 1, 32}}});
  jaxfactory::TestEncoder(
      Stack{2, {{0, 5, 74, 4, 4, 2, 48}, {0, 1, 36, 48, 1, 1, 16}}});
  for (const int rows : {1, 2, 13, 50, 141}) {
    jaxfactory::TestDense(rows, 16, 16);
    jaxfactory::TestDense(rows, 48, 80);
    jaxfactory::TestDense(rows, 176, 96);
  }
  jaxfactory::TestGru(1, 1, 16);
  jaxfactory::TestGru(4, 3, 32);
  return 0;
}
