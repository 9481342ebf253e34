#include "pool/pool_numbers.h"

#include <map>
#include <mutex>
#include <stdexcept>
#include <string>

namespace jaxfactory {
namespace {

struct Numbers {
  std::mutex mutex;
  std::map<std::int64_t, NumberedPool> pools;  // guarded by mutex
  std::int64_t last = 0;                       // guarded by mutex
};

// Never destroyed: programs may run while the statics are gone.
Numbers& All() {
  static auto* const numbers = new Numbers;
  return *numbers;
}

}  // namespace

std::int64_t NumberPool(const std::shared_ptr<EnvPool>& pool) {
  Numbers& all = All();
  const std::scoped_lock lock(all.mutex);
  std::erase_if(all.pools, [](const auto& row) { return row.second.pool.expired(); });
  all.pools[++all.last] = {.pool = pool};
  return all.last;
}

std::uint32_t NextToken(std::int64_t number) {
  Numbers& all = All();
  const std::scoped_lock lock(all.mutex);
  const auto found = all.pools.find(number);
  return found == all.pools.end() ? 0 : found->second.token;
}

PoolCall::PoolCall(std::int64_t number, std::uint32_t token) : number_(number) {
  Numbers& all = All();
  const std::scoped_lock lock(all.mutex);
  const auto found = all.pools.find(number);
  if (found != all.pools.end()) pool_ = found->second.pool.lock();
  if (pool_ == nullptr) {
    throw std::logic_error(
        "The pool that this program was compiled for is gone; compile it again with "
        "the functions that another pool's xla() returns.");
  }
  if (found->second.busy) {
    throw std::logic_error(
        "Two programs call the pool at once; pass each call the token that the "
        "previous one returned, and only once.");
  }
  if (found->second.token != token) {
    throw std::logic_error("The pool was called with token " + std::to_string(token) +
                           ", but the newest is " +
                           std::to_string(found->second.token) +
                           "; pass each call the token that the previous one returned, "
                           "and only once.");
  }
  found->second.busy = true;
}

PoolCall::~PoolCall() {
  Numbers& all = All();
  const std::scoped_lock lock(all.mutex);
  const auto found = all.pools.find(number_);
  if (found != all.pools.end()) found->second.busy = false;
}

std::uint32_t PoolCall::Advance() {
  Numbers& all = All();
  const std::scoped_lock lock(all.mutex);
  return ++all.pools.at(number_).token;
}

}  // namespace jaxfactory
