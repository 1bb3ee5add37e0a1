"""Everything this project changes in OpenRLHF, and nothing else.

A training run, in the order in which things happen (OpenRLHF's part in brackets):

    start         driver.py, run             settings.py has the plan and the run's settings, ray_start.py its Ray;
                                             our classes replace OpenRLHF's; [openrlhf.cli.train_ppo_ray]
    step          trainer.py, DiPOTrainer.fit; asynchronous: trainer_async.py, with what its actors exchange in
                  async_batches.py
      rollouts    rollouts.py, OrderedGenerator.generate_samples; refill.py, RefillGenerator; engine.py, CheckedEngine and
                  SeededEngine, inside which [agent executors] call the reward function
      scoring     actor.py, EntropyPolicyActor.forward, for methods that need token entropies; else [forward]
      advantages  experience_maker.py, DiPOExperienceMaker.compute_advantages_and_returns, on what experiences.py reads
      windows     windows.py, fill_windows: complete optimizer windows
      update      actor.py, DiPOPolicyActor.fit; policy_loss.py, WeightClipLoss; divergence.py, check_step
      weight sync weight_sync/sender.py, send_weights; worker.py, BucketWorker; async_batches.py, NumberedUpdates
      log, save   trainer.py, DiPOTraining.save_logs_and_checkpoints; trackers.py for wandb and TensorBoard
      timing      observe/step.py, StepMeter, asks the ranks and engines what they did
    end           health.py ends a run whose Ray, node or engine died; failures.py words the cause

`overrides.py` lists every overridden or called method of OpenRLHF; `dipo doctor` prints it. CPU runs only: cpu/changes.py
(the list of run-time changes), cpu/flash_attn.py (an import without flash-attn), cpu/gloo_sync.py (transport of weights),
cpu/fork_server.py (one import for all processes), cpu/forked_worker.py (workers as forks), cpu/local_ray.py (starts Ray).
"""
