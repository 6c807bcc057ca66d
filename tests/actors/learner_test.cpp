// What a learner publishes, and when its generators hear of it.
#include "actors/learner_actor.hpp"

#include <caf/actor_system.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <catch2/catch.hpp>
#include <chrono>

#include "actors/generator_actor.hpp"
#include "actors/node_config.hpp"
#include "actors/rank_actor.hpp"
#include "tests/actors/fakes.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

using namespace std::chrono_literals;

// Remembers what it is given. Its place names `node`.
class WatchedSender final : public WeightsSender {
 public:
  explicit WatchedSender(std::string node) { place_.node = std::move(node), place_.port = 1; }

  std::shared_ptr<std::byte[]> allocate(uint64_t bytes) override {
    const auto storage = allocate_on_heap(bytes);
    const std::lock_guard lock(mutex_);
    allocated_.push_back(storage);
    return storage;
  }
  Result<WeightsPlace> publish(WeightsBuffer weights, TimePoint) override {
    std::unique_lock lock(mutex_);
    published_.push_back(std::move(weights));
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
    return place_;
  }
  void abort(uint64_t) override {}

  // Until open() publish() does not return.
  void close() { set_open(false); }
  void open() { set_open(true); }
  void wait_published(size_t count) {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, 10s, [&] { return published_.size() >= count; }));
  }
  std::vector<std::shared_ptr<std::byte[]>> allocated() {
    const std::lock_guard lock(mutex_);
    return allocated_;
  }
  std::vector<WeightsBuffer> published() {
    const std::lock_guard lock(mutex_);
    return published_;
  }

 private:
  void set_open(bool open) {
    const std::lock_guard lock(mutex_);
    open_ = open;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  WeightsPlace place_;
  std::vector<std::shared_ptr<std::byte[]>> allocated_;
  std::vector<WeightsBuffer> published_;
  bool open_ = true;
};

// Remembers what it was told.
class WatchedReceiver final : public WeightsReceiver {
 public:
  Result<FetchedWeights> fetch(const WeightsReady& wanted, TimePoint) override {
    const std::lock_guard lock(mutex_);
    wanted_.push_back(wanted);
    changed_.notify_all();
    return FetchedWeights{{wanted.manifest, allocate_on_heap(wanted.manifest.bytes)}, "tcp"};
  }
  void abort(uint64_t) override {}

  // All that it was told of until `version`; one may be left out that came while another did.
  std::vector<WeightsReady> wait_for(uint64_t version) {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(
        lock, 10s, [&] { return !wanted_.empty() && wanted_.back().manifest.version == version; }));
    return wanted_;
  }
  size_t wanted() {
    const std::lock_guard lock(mutex_);
    return wanted_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<WeightsReady> wanted_;
};

// A trainer with other weights than it ought to have.
class WrongTrainer final : public Trainer {
 public:
  Result<TrainReport> train(std::span<const SampleGroup>, uint64_t, double,
                            const std::filesystem::path&) override {
    return TrainReport{};
  }
  Result<TrainReport> train_supervised(std::span<const SupervisedExample>, double,
                                       const std::filesystem::path&) override {
    return TrainReport{};
  }
  WeightsPtr weights(uint64_t version, const AllocateWeights& allocate) const override {
    auto bytes = allocate(8);
    std::fill_n(bytes.get(), 8, std::byte{1});
    WeightsManifest manifest;
    manifest.version = version;
    manifest.bytes = 8;
    manifest.checksum = weights_checksum({bytes.get(), 8});
    return std::make_shared<const Weights>(manifest, std::move(bytes));
  }
  Result<void> save_optimizer(const std::filesystem::path&) const override { return {}; }
  Result<void> restore(WeightsPtr, const std::filesystem::path&) override { return {}; }
};

// A learner, with or without a second rank that serves weights, in an actor system of its own.
class LearnerRun {
 public:
  enum class Ranks { kOne, kTwo, kTwoThatDiffer };

  explicit LearnerRun(Ranks ranks) : several_(ranks != Ranks::kOne) {
    services->log = NodeLog::open(dir_ / "node.log").value();
    options_.groups_per_batch = 1;
    options_.max_staleness = 100;
    LearnerSetup setup{parts(false),
                       RunFolder::create(dir_ / "run", "").value(),
                       sender,
                       {},
                       options_,
                       own_rank(),
                       {"head", "h0", 1},
                       {},
                       several_};
    Peers peers;
    if (several_) {
      RankSetup other{parts(ranks == Ranks::kTwoThatDiffer), own_rank(),
                      [this]() -> Result<std::unique_ptr<WeightsSender>> {
                        return std::unique_ptr<WeightsSender>(new SharedSender(rank_sender));
                      },
                      options_};
      peers.ranks[0] = {system_.spawn<RankShell, caf::detached>(context("rank 0"), other),
                        {"rank1", "h1", 1}};
    }
    learner_ = system_.spawn<LearnerShell, caf::detached>(context("learner"), std::move(setup));
    generator_ = system_.spawn<GeneratorShell, caf::detached>(
        context("generator 0"),
        GeneratorSetup{0, parts(false)->make_engine, receiver, RunOptions{}});
    rank_ = several_ ? peers.ranks[0].actor : RankActor{};
    start(generator_, start_atom::value);
    start(learner_, start_atom::value, peers);
    peers.generators[0] = generator_;
    peers.epoch = 1;
    caf::anon_send(learner_, peers);  // nobody keeps the answer, which would keep the learner
  }
  ~LearnerRun() {
    rank_sender->open();
    self_->send_exit(learner_, caf::exit_reason::user_shutdown);
    self_->send_exit(generator_, caf::exit_reason::user_shutdown);
    if (rank_) self_->send_exit(rank_, caf::exit_reason::user_shutdown);
    learner_ = LearnerActor{};
    generator_ = GeneratorActor{};
    rank_ = RankActor{};
    CHECK(services->gate.wait_empty(std::chrono::steady_clock::now() + 10s));
  }

  // One step, on a group that has no rollouts.
  void train(uint64_t group) {
    SampleGroup empty;
    empty.key.group = group;
    self_->send(learner_, empty);
  }

  const std::shared_ptr<NodeServices> services = std::make_shared<NodeServices>();
  const std::shared_ptr<WatchedSender> sender = std::make_shared<WatchedSender>("head");
  const std::shared_ptr<WatchedSender> rank_sender = std::make_shared<WatchedSender>("rank1");
  const std::shared_ptr<WatchedReceiver> receiver = std::make_shared<WatchedReceiver>();

 private:
  // A rank owns its sender; the test keeps this one.
  class SharedSender final : public WeightsSender {
   public:
    explicit SharedSender(std::shared_ptr<WatchedSender> sender) : sender_(std::move(sender)) {}
    std::shared_ptr<std::byte[]> allocate(uint64_t bytes) override {
      return sender_->allocate(bytes);
    }
    Result<WeightsPlace> publish(WeightsBuffer weights, TimePoint deadline) override {
      return sender_->publish(std::move(weights), deadline);
    }
    void abort(uint64_t) override {}

   private:
    const std::shared_ptr<WatchedSender> sender_;
  };

  ShellContext context(const std::string& name) const { return {services, {}, name, name}; }

  std::shared_ptr<const RunParts> parts(bool wrong) {
    RunParts made = fake_parts(&world_, 11);
    made.make_rank_trainer = [make = made.make_trainer, wrong](
                                 RankGroupOptions, std::shared_ptr<RankStore>,
                                 const auto&) -> Result<std::unique_ptr<Trainer>> {
      if (wrong) return std::unique_ptr<Trainer>(new WrongTrainer);
      return make();
    };
    return std::make_shared<const RunParts>(std::move(made));
  }
  static std::shared_ptr<OwnRank> own_rank() {
    return std::make_shared<OwnRank>([](auto) { return nullptr; });
  }

  template <class Actor, class... Ts>
  void start(const Actor& actor, Ts... message) {
    self_->request(actor, 10s, message...)
        .receive([](const Outcome& outcome) { CHECK(outcome.ok); },
                 [](const caf::error&) { FAIL("no answer"); });
  }

  const bool several_;
  TempDir dir_;
  FakeWorld world_;
  RunOptions options_;
  NodeConfig config_;
  caf::actor_system system_{config_};
  caf::scoped_actor self_{system_};
  LearnerActor learner_;
  GeneratorActor generator_;
  RankActor rank_;
};

}  // namespace

TEST_CASE("each version is written into the sender's storage and published from there") {
  LearnerRun run(GENERATE(LearnerRun::Ranks::kOne, LearnerRun::Ranks::kTwo));
  run.train(0);
  run.receiver->wait_for(1);
  const auto allocated = run.sender->allocated();
  const auto published = run.sender->published();
  REQUIRE(allocated.size() == 2);
  REQUIRE(published.size() == 2);
  for (size_t i = 0; i < 2; ++i) {
    CHECK(published[i].bytes == allocated[i]);
    CHECK(published[i].manifest.version == i);
  }
}

TEST_CASE("generators hear of a version when all ranks offer it, after rank 0") {
  LearnerRun run(LearnerRun::Ranks::kTwo);
  run.receiver->wait_for(0);
  run.rank_sender->close();
  run.train(0);
  run.rank_sender->wait_published(2);
  CHECK(run.sender->published().size() == 2);
  CHECK(run.receiver->wanted() == 1);
  run.train(1);  // waits for the offer
  CHECK(run.sender->published().size() == 2);
  run.rank_sender->open();
  for (const WeightsReady& ready : run.receiver->wait_for(2)) {
    CHECK(ready.place.node == "head");
    REQUIRE(ready.others.size() == 1);
    CHECK(ready.others[0].node == "rank1");
  }
  // Weights that did not change are offered again as they are, in the rank's own storage.
  const auto offered = run.rank_sender->published();
  REQUIRE(offered.size() == 3);
  for (const WeightsBuffer& weights : offered)
    CHECK(weights.bytes == run.rank_sender->allocated()[0]);
}

TEST_CASE("a rank with other weights than rank 0 ends the run by its name, and offers nothing") {
  LearnerRun run(LearnerRun::Ranks::kTwoThatDiffer);
  std::optional<Result<RunSummary>> end;
  std::optional<Progress> progress;
  for (int i = 0; i < 10 && !end; ++i)
    end = run.services->inbox.wait(std::chrono::steady_clock::now() + 1s, &progress);
  REQUIRE(end);
  REQUIRE_FALSE(end->ok());
  CHECK_THAT(end->error().message,
             Catch::Contains("learner rank 1 on node rank1: its weights version 0 of epoch 0 is "
                             "not rank 0's: checksum "));
  CHECK(run.rank_sender->published().empty());
  CHECK(run.receiver->wanted() == 0);
}

}  // namespace tracewise
