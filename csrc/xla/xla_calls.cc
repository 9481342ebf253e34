#include "xla/xla_calls.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>

#include "pool/env_pool.h"
#include "pool/pool_numbers.h"
#include "xla/ffi/api/ffi.h"

namespace jaxfactory {
namespace {

namespace ffi = xla::ffi;

using Token = ffi::Buffer<ffi::S32>;
using NextToken = ffi::Result<Token>;
using Actions = ffi::Buffer<ffi::S32>;

// Copies the rows of one field, a double as a float.
void CopyField(const Field& field, const std::byte* rows, ffi::AnyBuffer& to,
               int num_envs) {
  const std::size_t count = field.columns * static_cast<std::size_t>(num_envs);
  const bool narrow = field.type == ElementType::kFloat64;
  const std::size_t bytes = count * (narrow ? sizeof(float) : SizeOf(field.type));
  if (to.size_bytes() != bytes) {
    throw std::invalid_argument("The result " + field.name + " has " +
                                std::to_string(to.size_bytes()) + " bytes instead of " +
                                std::to_string(bytes) + ".");
  }
  if (narrow) {
    std::copy_n(reinterpret_cast<const double*>(rows), count,
                static_cast<float*>(to.untyped_data()));
  } else if (bytes > 0) {
    std::memcpy(to.untyped_data(), rows, bytes);
  }
}

void CopyResults(const EnvPool& pool, Position position, ffi::RemainingRets& results) {
  const StepArrays& arrays = pool.arrays();
  if (results.size() != arrays.fields().size()) {
    throw std::invalid_argument("The call has " + std::to_string(results.size()) +
                                " results instead of " +
                                std::to_string(arrays.fields().size()) + ".");
  }
  for (std::size_t i = 0; i < arrays.fields().size(); ++i) {
    auto to = results.get<ffi::AnyBuffer>(i);
    if (to.has_error()) throw std::invalid_argument(to.error().message());
    CopyField(arrays.fields()[i], arrays.Rows(i, position), **to,
              pool.config().num_envs);
  }
}

Position ReceiveAll(EnvPool& pool) {
  Position position;
  std::exception_ptr error;
  // Receives every group before throwing, so that no group stays half stepped.
  for (int group = 0; group < pool.config().num_groups; ++group) {
    try {
      while (!pool.Recv(group, std::chrono::milliseconds(100), &position)) {
      }
    } catch (...) {
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
  return position;
}

// Calls `send` with the pool of a number, then receives all groups and writes the
// results. Nothing may be thrown through XLA.
template <typename Send>
ffi::Error Call(std::int64_t number, const Token& token, NextToken& next,
                ffi::RemainingRets& results, Send&& send) {
  try {
    PoolCall call(number, static_cast<std::uint32_t>(*token.typed_data()));
    send(call.pool());
    const Position position = ReceiveAll(call.pool());
    CopyResults(call.pool(), position, results);
    *next->typed_data() = static_cast<std::int32_t>(call.Advance());
    return ffi::Error::Success();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(error.what());
  }
}

ffi::Error Reset(std::int64_t number, Token token, NextToken next,
                 ffi::RemainingRets results) {
  return Call(number, token, next, results, [](EnvPool& pool) {
    for (int group = 0; group < pool.config().num_groups; ++group) {
      pool.SendReset(group);
    }
  });
}

ffi::Error Step(std::int64_t number, Token token, Actions actions, NextToken next,
                ffi::RemainingRets results) {
  return Call(number, token, next, results, [&](EnvPool& pool) {
    const std::span<const std::int32_t> all(actions.typed_data(),
                                            actions.element_count());
    pool.Check(all);  // before the first send, so that no group is sent alone
    const std::size_t part =
        all.size() / static_cast<std::size_t>(pool.config().num_groups);
    for (int group = 0; group < pool.config().num_groups; ++group) {
      pool.Send(group, all.subspan(static_cast<std::size_t>(group) * part, part));
    }
  });
}

XLA_FFI_DEFINE_HANDLER(kReset, Reset,
                       ffi::Ffi::Bind()
                           .Attr<std::int64_t>("pool")
                           .Arg<Token>()
                           .Ret<Token>()
                           .RemainingRets());
XLA_FFI_DEFINE_HANDLER(kStep, Step,
                       ffi::Ffi::Bind()
                           .Attr<std::int64_t>("pool")
                           .Arg<Token>()
                           .Arg<Actions>()
                           .Ret<Token>()
                           .RemainingRets());

}  // namespace

void* XlaResetHandler() { return reinterpret_cast<void*>(kReset); }
void* XlaStepHandler() { return reinterpret_cast<void*>(kStep); }

}  // namespace jaxfactory
