// How DoomEnv replaces engines that have played enough.
//
// Engines grow with the time that they play, by some bytes each tic. While old ones
// play their last episode new ones start, and take over when it has ended. Which
// episode is the last depends on the seed alone, and so do the episodes.
#include <utility>

#include "doom/doom_env.h"

namespace jaxfactory {

void DoomEnv::OpenNextEpisode() {
  if (!successors_.empty()) {
    phase_ = Phase::kSuccession;
    AwaitSuccessors();
    return;
  }
  NewEpisode();
  const unsigned half = config_.engine_tics / 2;
  // Not all environments at once.
  const unsigned limit = config_.engine_tics - (half > 0 ? start_seed_ % half : 0);
  if (config_.engine_tics > 0 && age_ >= limit) StartSuccessors();
}

void DoomEnv::StartSuccessors() {
  const std::uint32_t seed = game_seeds_();
  // Others would play on another map, or on none.
  if (StampFiles(config_.engine.arguments) != files_) return KeepEngines();
  // A server would cost more than it saves if it started only now.
  const bool forks = server_ != nullptr && server_->Running();
  try {
    successors_ = StartEngines(config_, seed, row_, forks ? server_.get() : nullptr);
  } catch (const EngineError&) {
    KeepEngines();
  }
}

// In each step; soon after they are ready, their names are gone from /dev/shm.
void DoomEnv::LookForSuccessors() {
  try {
    Started(successors_, DoomEngine::Wait::kNot);
  } catch (const EngineError&) {
    KeepEngines();
  }
}

void DoomEnv::AwaitSuccessors() {
  try {
    if (!Started(successors_, DoomEngine::Wait::kBriefly)) return;
    for (const auto& engine : successors_.engines) engine->CheckRuns();
  } catch (const EngineError&) {
    KeepEngines();
    NewEpisode();
    return;
  }
  Take(std::exchange(successors_, {}));
  OnReply();
}

// The old ones stay, for as long again.
void DoomEnv::KeepEngines() {
  successors_.End();
  age_ = 0;
}

}  // namespace jaxfactory
