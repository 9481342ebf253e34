// The configuration of a pool.
#ifndef JAXFACTORY_POOL_CONFIG_H_
#define JAXFACTORY_POOL_CONFIG_H_

#include <cstdint>
#include <vector>

namespace jaxfactory {

struct PoolConfig {
  int num_envs = 1;      // rows
  int rows_per_env = 1;  // rows that one `Env` fills: the agents of a match
  int num_groups = 1;
  int num_workers = 0;  // 0: one for each core that the process may use
  int num_steps = 32;   // steps per slab
  int num_slabs = 2;
  bool serial = false;  // run everything on the caller's thread, for debugging
  bool pin = true;      // pin each worker and its engines to a core
  std::uint64_t seed = 0;
  std::vector<std::uint32_t> env_seeds;  // empty: derived from `seed`
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_POOL_CONFIG_H_
