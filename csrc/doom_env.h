// Episode logic over one engine: frame skip, time-out, autoreset, final observation.
#ifndef JAXFACTORY_DOOM_ENV_H_
#define JAXFACTORY_DOOM_ENV_H_

#include <memory>
#include <random>
#include <vector>

#include "doom_engine.h"
#include "doom_reward.h"
#include "env.h"
#include "frame.h"
#include "spec.h"

namespace jaxfactory {

// Drives an engine exactly as DoomGame's `make_action` and `new_episode` do, one
// message at a time, so that a worker can drive many engines at once.
class DoomEnv final : public Env {
 public:
  // `config` and `resizers` outlive the environment.
  DoomEnv(const DoomConfig& config, std::uint32_t seed);

  void BeginReset(const StepSlot& slot) override;
  void BeginStep(const std::int32_t* action, const StepSlot& slot) override;
  bool Advance() override;
  int pid() const override { return engine_ ? engine_->pid() : 0; }

 private:
  enum class Phase {
    kIdle,
    kStarting,     // the process is coming up
    kStartTics,    // tics until the level's start time, after a start
    kStartUpdate,  // the first frame, after a start
    kTic,          // in a step
    kQueuedTics,   // in a step whose tics were all sent at once
    kEarlyEnd,     // the update that makes the variables final after an early end
    kMapChange,    // tics until the new level is there
    kMapTics,      // tics until the level's start time
    kMapUpdate,    // the first frame of the level
  };

  void Start();
  void NewEpisode();
  void OnReply();
  void SendTic();
  void SendAllTics();
  void AfterTic();
  void OnMapTic();
  void OpenEpisode();
  void FinishStep();
  void FinishReset();
  void Recover(const EngineError& error);
  void CheckScreen() const;

  bool starting() const;
  bool terminal() const;
  bool timed_out() const;
  void WriteObservation(std::uint8_t* out) const;
  void WriteMeasurements(float* out) const;
  void WriteVariables() const;
  void ClearButtons();

  const DoomConfig& config_;
  std::vector<Resizer> resizers_;
  std::mt19937 game_seeds_;
  std::uint32_t start_seed_ = 0;  // of the engine that runs
  std::unique_ptr<DoomEngine> engine_;
  OwnReward own_reward_;
  ShapingReward shaping_;
  StepSlot slot_;
  Phase phase_ = Phase::kIdle;
  bool stepping_ = false;  // a step is under way, and the reset that may end it
  bool ended_ = false;     // the step's results are written, its reset is under way
  bool fresh_ = false;     // the episode has just been opened, no step yet
  int tics_left_ = 0;      // to send; of queued ones, to be answered
  int restart_tics_ = 0;
  int failures_ = 0;          // in a row, without a finished step
  unsigned last_tic_ = 1;     // the engine's tic as the controller counts it
  unsigned reward_tic_ = 0;   // up to which the living reward is paid
  unsigned episode_tic_ = 0;  // when the episode opened
  double episode_return_ = 0;
  double episode_own_return_ = 0;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENV_H_
