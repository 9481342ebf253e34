// The fields that a step reports, defined once. The pool's arrays, the pointers that an
// environment writes through, the arrays in Python and the results of the XLA calls all
// follow from this table and from the fields that a kind of environment adds.
#ifndef JAXFACTORY_POOL_STEP_FIELDS_H_
#define JAXFACTORY_POOL_STEP_FIELDS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

namespace jaxfactory {

// Elements in one environment's row.
enum class Width { kScalar, kObs, kMeasurements };

// The history of a field: the values of every step, [slabs, slots, B, ...], or only
// the latest, [B, ...].
enum class History { kEveryStep, kLatest };

// X(name, element type, width, history) for each field that every environment writes.
#define JAXFACTORY_STEP_FIELDS(X)                      \
  X(obs, std::uint8_t, kObs, kEveryStep)               \
  X(measurements, float, kMeasurements, kEveryStep)    \
  X(reward, float, kScalar, kEveryStep)                \
  X(raw_reward, double, kScalar, kEveryStep)           \
  X(terminated, bool, kScalar, kEveryStep)             \
  X(truncated, bool, kScalar, kEveryStep)              \
  X(is_first, bool, kScalar, kEveryStep)               \
  X(restarted, bool, kScalar, kEveryStep)              \
  X(episode_shaped_return, float, kScalar, kEveryStep) \
  X(episode_raw_return, float, kScalar, kEveryStep)    \
  X(episode_length, std::int32_t, kScalar, kEveryStep) \
  X(final_obs, std::uint8_t, kObs, kLatest)            \
  X(final_measurements, float, kMeasurements, kLatest)

enum class ElementType { kUint8, kBool, kInt32, kFloat32, kFloat64 };

template <typename T>
constexpr ElementType ElementTypeOf() {
  if constexpr (std::is_same_v<T, std::uint8_t>) return ElementType::kUint8;
  if constexpr (std::is_same_v<T, bool>) return ElementType::kBool;
  if constexpr (std::is_same_v<T, std::int32_t>) return ElementType::kInt32;
  if constexpr (std::is_same_v<T, float>) return ElementType::kFloat32;
  if constexpr (std::is_same_v<T, double>) return ElementType::kFloat64;
}

// Calls `visitor` with a null pointer to elements of the type.
template <typename Visitor>
decltype(auto) VisitType(ElementType type, Visitor&& visitor) {
  switch (type) {
    case ElementType::kUint8:
      return visitor(static_cast<std::uint8_t*>(nullptr));
    case ElementType::kBool:
      return visitor(static_cast<bool*>(nullptr));
    case ElementType::kInt32:
      return visitor(static_cast<std::int32_t*>(nullptr));
    case ElementType::kFloat32:
      return visitor(static_cast<float*>(nullptr));
    case ElementType::kFloat64:
      break;
  }
  return visitor(static_cast<double*>(nullptr));
}

inline std::size_t SizeOf(ElementType type) {
  return VisitType(type, [](auto* element) { return sizeof(*element); });
}

// One array of results.
struct Field {
  std::string name;
  ElementType type = ElementType::kFloat32;
  std::size_t columns = 1;  // elements in a row
  bool scalar = true;       // whether the array has no axis of columns
  History history = History::kEveryStep;

  std::size_t row_bytes() const { return columns * SizeOf(type); }
};

// The most fields that a kind of environment can add.
constexpr std::size_t kMaxOwnFields = 8;

// Destinations of one environment's results of a step.
struct StepSlot {
#define JAXFACTORY_POINTER(name, type, width, history) type* name = nullptr;
  JAXFACTORY_STEP_FIELDS(JAXFACTORY_POINTER)
#undef JAXFACTORY_POINTER
  const std::uint8_t* previous_obs = nullptr;
  const float* previous_measurements = nullptr;
  std::array<std::byte*, kMaxOwnFields> own{};  // the environment's own fields
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_POOL_STEP_FIELDS_H_
