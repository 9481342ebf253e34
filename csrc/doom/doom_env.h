// One environment: frame skip, time-out, autoreset, final observation.
#ifndef JAXFACTORY_DOOM_DOOM_ENV_H_
#define JAXFACTORY_DOOM_DOOM_ENV_H_

#include <cstddef>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "doom/config.h"
#include "doom/doom_player.h"
#include "doom/engine/game_files.h"
#include "doom/engine_set.h"
#include "pool/env.h"

namespace jaxfactory {

// Drives the engines exactly as DoomGame's `make_action` and `new_episode` do, one
// message at a time, so that a worker can step many environments concurrently.
//
// The engines of a match run each tic together: each waits for the input of all others
// before it replies. So every request is sent to all of them before any reply is
// awaited, and if one fails the match restarts with new engines.
class DoomEnv final : public Env {
 public:
  // `config` must outlive the environment; `row` is its first row in the pool. `server`
  // starts engines; environments share it.
  DoomEnv(const DoomConfig& config, std::uint32_t seed, int row = 0,
          std::shared_ptr<ForkServer> server = nullptr);

  void Seed(std::uint32_t seed) override;
  void BeginReset(std::span<const StepSlot> slots) override;
  void BeginStep(const std::int32_t* actions, std::span<const StepSlot> slots) override;
  bool Advance() override;
  // Weighs the shaping of a row; see `ShapingReward::Weigh`.
  void WeighShaping(int row, std::span<const double> weights) {
    players_[static_cast<std::size_t>(row)].WeighShaping(weights);
  }
  // Process id of the engine behind a row, or 0.
  int pid(int row) const;
  // Whether that engine's screen loop is replaced.
  bool tuned(int row) const;

 private:
  enum class Phase {
    kIdle,
    kStarting,     // the processes are starting
    kStartTics,    // tics until the level's start time, after a start
    kStartUpdate,  // the first frame, after a start
    kTic,          // in a step
    kQueuedTics,   // in a step whose tics were all sent at once
    kEarlyEnd,     // the update that makes the variables final after an early end
    kMapChange,    // tics until the new level has loaded
    kMapTics,      // tics until the level's start time
    kMapUpdate,    // the first frame of the level
    kSuccession,   // other engines are starting, which take over
  };

  // Runs a part of a reset or step, and restarts the engines if one fails in it.
  template <typename Part>
  void Guarded(Part&& part);
  void Start();
  void Take(EngineSet engines);
  void NewEpisode();
  void OpenNextEpisode();
  void StartSuccessors();
  void LookForSuccessors();
  void AwaitSuccessors();
  void KeepEngines();
  bool AllReplied();
  void OnReply();
  void SendTic();
  void SendOpeningTic();
  void SendAllTics();
  void AfterTic();
  void OnMapTic();
  void OpenEpisode();
  void FinishStep();
  void Recover(const EngineError& error);
  void End();

  void Send(protocol::Code code);
  void SendCommand(const std::string& command);
  void CallBots();
  void HoldUse(bool on);

  bool match() const { return config_.match.agents > 0; }
  bool running() const;  // all engines were started; they may have failed
  bool starting() const;
  bool terminal() const;
  bool timed_out() const;
  // The state, which is equal in all engines of an environment.
  const protocol::GameState& state() const { return players_[0].state(); }

  const DoomConfig& config_;
  const int row_;
  const std::shared_ptr<ForkServer> server_;
  std::mt19937 game_seeds_;
  std::uint32_t start_seed_ = 0;                 // of the engines that run
  std::vector<std::unique_ptr<UdpPort>> ports_;  // of a match's engines
  EngineSet successors_;                         // take over when the episode ends
  unsigned age_ = 0;                             // tics that the engines have played
  const FileStamps files_;                       // as they were at first
  std::vector<DoomPlayer> players_;              // the first one hosts
  std::size_t replied_ = 0;  // players that have answered the last request
  Phase phase_ = Phase::kIdle;
  bool stepping_ = false;  // a step is running, or the reset that may follow it
  bool ended_ = false;     // the step's results are written, its reset is running
  bool restart_ = false;   // a seed was given: the next reset starts another engine
  bool fresh_ = false;     // the episode has just started, no step yet
  unsigned time_limit_;    // of the running episode, in tics; 0 for none
  int tics_left_ = 0;      // still to send; if queued, still unanswered
  int restart_tics_ = 0;
  unsigned opening_tics_ = 0;  // sent to open an episode
  int failures_ = 0;           // consecutive, without a finished step
  unsigned last_tic_ = 1;      // the engine's tic as the controller counts it
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_DOOM_ENV_H_
