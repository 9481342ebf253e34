// Numbers for pools, by which compiled programs name them.
#ifndef JAXFACTORY_POOL_POOL_NUMBERS_H_
#define JAXFACTORY_POOL_POOL_NUMBERS_H_

#include <cstdint>
#include <memory>

#include "pool/env_pool.h"

namespace jaxfactory {

// A pool that compiled programs may step. A program can outlive its pool, and another
// pool may then be at the same address; a number is never used again.
struct NumberedPool {
  std::weak_ptr<EnvPool> pool;
  std::uint32_t token = 0;  // that the next call must carry
  bool busy = false;        // a call is running
};

// Returns the number of a pool that is now known by it.
std::int64_t NumberPool(const std::shared_ptr<EnvPool>& pool);

// The token that the next call must carry.
std::uint32_t NextToken(std::int64_t number);

// The exclusive use of a pool by one call, for the object's lifetime. Throws
// std::logic_error if the pool is gone, if another call is running, or if the token is
// not the newest: then calls would be in no certain order.
class PoolCall {
 public:
  PoolCall(std::int64_t number, std::uint32_t token);
  ~PoolCall();
  PoolCall(const PoolCall&) = delete;
  PoolCall& operator=(const PoolCall&) = delete;

  EnvPool& pool() { return *pool_; }
  // Returns the token for the next call, which makes this one's invalid.
  std::uint32_t Advance();

 private:
  const std::int64_t number_;
  std::shared_ptr<EnvPool> pool_;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_POOL_POOL_NUMBERS_H_
