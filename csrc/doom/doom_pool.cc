#include "doom/doom_pool.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "doom/doom_env.h"
#include "doom/doom_fields.h"
#include "doom/engine/fork_server.h"
#include "doom/engine/hung_engines.h"
#include "doom/match_role.h"
#include "pool/worker_pool.h"

namespace jaxfactory {
namespace {

// What `read` gives for each row whose environment runs Doom.
template <typename T, typename Read>
std::vector<T> OfRows(const EnvPool& pool, Read&& read) {
  std::vector<T> values;
  values.reserve(static_cast<std::size_t>(pool.config().num_envs));
  for (const auto& env : pool.envs()) {
    const auto* doom = dynamic_cast<const DoomEnv*>(env.get());
    if (doom == nullptr) continue;
    for (int row = 0; row < pool.config().rows_per_env; ++row) {
      values.push_back(read(*doom, row));
    }
  }
  return values;
}

// None if the engines differ in more than their seeds, as those of a match do.
std::shared_ptr<ForkServer> Server(const DoomConfig& config) {
  if (config.match.agents > 1 || config.engine.fork_library.empty()) return nullptr;
  return std::make_shared<ForkServer>(config.engine,
                                      MatchRole(config.match, 0, {}, 0).arguments);
}

}  // namespace

EnvKind DoomKind(const DoomConfig& config) {
  std::vector<int> heads;
  heads.reserve(config.heads.size());
  for (const auto& head : config.heads) heads.push_back(static_cast<int>(head.size()));
  return {
      .sizes = {config.frame.bytes(), config.measurements.size()},
      .head_sizes = std::move(heads),
      .make =
          // The server ends with the last environment, when the pool is closed.
      [&config, shared = std::weak_ptr<ForkServer>()](int row,
                                                      std::uint32_t seed) mutable {
        std::shared_ptr<ForkServer> server = shared.lock();
        if (server == nullptr) shared = server = Server(config);
        return std::make_unique<DoomEnv>(config, seed, row, std::move(server));
      },
      .fields = DoomFields(config),
      .on_stall =
          [](Stall stall) {
            KillHungEngines(stall == Stall::kClosing ? Patience::kNone
                                                     : Patience::kUntilLimit);
          },
  };
}

void SpreadEngines(const PoolConfig& pool, DoomConfig* config) {
  const std::vector<int> cores = UsableCores();
  const int agents = config->match.agents;
  if (pool.pin && agents > 1 && std::cmp_less(pool.num_envs / agents, cores.size())) {
    config->match.cores = cores;
  }
}

void WeighShaping(EnvPool& pool, int row, std::span<const double> weights) {
  if (row < 0 || row >= pool.config().num_envs) {
    throw std::invalid_argument("there is no row " + std::to_string(row));
  }
  if (pool.sent(row / pool.group_size())) {
    throw std::logic_error("the shaping of a row cannot be weighed while it steps");
  }
  const int rows = pool.config().rows_per_env;
  const auto env = static_cast<std::size_t>(row / rows);
  auto* doom = dynamic_cast<DoomEnv*>(pool.envs().at(env).get());
  if (doom != nullptr) doom->WeighShaping(row % rows, weights);
}

std::vector<int> EnginePids(const EnvPool& pool) {
  return OfRows<int>(pool, [](const DoomEnv& env, int row) { return env.pid(row); });
}

std::vector<bool> TunedEngines(const EnvPool& pool) {
  return OfRows<bool>(pool, [](const DoomEnv& env, int row) { return env.tuned(row); });
}

}  // namespace jaxfactory
