// What the shell reads of a run's folder.
#include "launch/shell/run_view.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "actors/ledger.hpp"
#include "actors/run_store.hpp"
#include "launch/shell/console.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

// A folder with the run's own tables: group 0 committed, 1 issued a second time, 2 issued.
class RunOnDisk {
 public:
  RunOnDisk() {
    auto db = Database::open(dir_ / "run.db", Database::Mode::kReadWrite);
    REQUIRE(db.ok());
    REQUIRE(Ledger::open(db->get()).ok());
    REQUIRE(RunStore::open(db->get(), Database::Mode::kReadWrite).ok());
    REQUIRE((*db)
                ->execute("UPDATE issued SET groups = 3;"
                          "INSERT INTO groups VALUES (0, 0, 'committed', 4, 5, 'row-7'),"
                          " (1, 1, 'generated', 4, 0, 'row-8'), (2, 0, 'issued', 5, 0, 'row-9');"
                          "INSERT INTO failures VALUES (1, 0, 4, 'no verdict within 5 s');"
                          "INSERT INTO rollouts VALUES (0, 5, 0, 3, 'p', 0.5, 17, x'', x'');"
                          "INSERT INTO metrics VALUES (1, 'train/accuracy', 0.25),"
                          " (2, 'train/accuracy', 1.0), (3, 'train/accuracy', NULL),"
                          " (4, 'train/accuracy', 0.5), (2, 'eval/accuracy', 0.75)")
                .ok());
    dir_.put("config.toml", "[advantage]\nbeta = 3.5\n");
    std::filesystem::create_directory(dir_ / "logs");
    dir_.put("logs/node.log", "one\ntwo\nthree\n");
  }
  const std::filesystem::path& path() const { return dir_.path(); }
  RunView view() const { return RunView(dir_.path()); }
  std::string run(const std::string& line, Console::Format format = Console::Format::kText) const {
    const auto answer = Console(nobody, view(), format).run(line);
    return answer.ok() ? *answer : answer.error().message;
  }
  static ControlAnswer nobody(const ControlRequest&) { return bad_input("nobody runs it now"); }

 private:
  TempDir dir_;
};

}  // namespace

TEST_CASE("the ledger's groups are counted by state, and failed attempts by class") {
  const RunOnDisk run;
  const LedgerCounts counts = run.view().ledger().value();
  CHECK(counts.issued == 3);
  CHECK(counts.issued_again == 1);
  CHECK(counts.states == std::vector<std::pair<std::string, uint64_t>>{
                             {"issued", 1}, {"generated", 1}, {"committed", 1}});
  CHECK(counts.failures == std::vector<std::pair<std::string, uint64_t>>{{"verifier_timeout", 1}});
  CHECK(run.run("ledger") ==
        "issued        3  groups\nissued again  1  attempts\nissued        1  groups\n"
        "generated     1  groups\ncommitted     1  groups\n"
        "failed        1  attempts of verifier_timeout\n");
}

TEST_CASE("a group's lineage has its state, its failures and its logged rollouts") {
  const RunOnDisk run;
  CHECK(run.run("lineage 0") ==
        "group 0, attempt 0: committed, issued at weights version 4, trained in step 5\n"
        "prompt row-7\nsample 3: reward 0.5, 17 tokens\n");
  CHECK(run.run("lineage 1") ==
        "group 1, attempt 1: generated, issued at weights version 4\n"
        "prompt row-8\nattempt 0 failed: no verdict within 5 s\n");
  CHECK(run.run("lineage 3") == "the ledger has no group 3; groups 0 to 2 were issued");
  CHECK(run.run("lineage x") == "lineage: x is no number of a group");
  CHECK(run.run("lineage") == "lineage needs the number of a group");
}

TEST_CASE("a metric is a line over its newest steps, with gaps where it has no value") {
  const RunOnDisk run;
  const auto points = run.view().metric("train/accuracy", 3).value();
  REQUIRE(points.size() == 3);
  CHECK(points[0].step == 2);
  CHECK(std::isnan(points[1].value));
  CHECK(run.run("metrics train/accuracy") ==
        "▁█ ▃\ntrain/accuracy of steps 1 to 4: last 0.5, least 0.25, most 1\n");
  CHECK(run.run("metrics") ==
        "metric          value  step\neval/accuracy   0.75   2\ntrain/accuracy  0.5    4\n");
  CHECK(run.run("metrics train/acuracy") ==
        "there is no metric train/acuracy; did you mean train/accuracy?");
  CHECK(run.run("metrics eval/accuracy", Console::Format::kJson) ==
        "{\n \"name\": \"eval/accuracy\",\n \"points\": [\n  {\n   \"step\": 2,\n   \"value\": "
        "0.75\n  }\n ]\n}\n");
}

TEST_CASE("config and log show what is asked for, and what there is instead") {
  const RunOnDisk run;
  CHECK(run.run("config advantage.beta") == "[advantage]\nbeta = 3.5\n");
  CHECK(run.run("config advantage.bta") ==
        "there is no key advantage.bta; did you mean advantage.beta?");
  CHECK(run.view().log("node", 2).value() == "two\nthree\n");
  CHECK(run.view().log("node", 9).value() == "one\ntwo\nthree\n");
  CHECK(run.run("log") == "one\ntwo\nthree\n");
  CHECK(run.run("log gen0") == "there is no log of gen0; there are: node");
}

TEST_CASE("events are told newest last, one kind alone where it is asked for, torn lines never") {
  const RunOnDisk run;
  CHECK(run.run("events") == "nothing has happened\n");
  CHECK(run.view().last_words().empty());
  std::ofstream(run.path() / "events.jsonl")
      << R"({"time":1700000000.5,"kind":"run","who":"node","text":"the run ends: no space"})"
         "\n"
      << R"({"time":17)"
         "\n"
      << R"({"time":1700000001,"kind":"stall","who":"monitor","text":"overdue: x"})"
         "\n";
  const auto all = run.view().events("", 9).value();
  REQUIRE(all.size() == 2);
  CHECK(all[0].time == 1700000000.5);
  CHECK(all[1].who == "monitor");
  CHECK(run.view().events("", 1).value().front().text == "overdue: x");
  CHECK(run.view().events("run", 9).value().front().text == "the run ends: no space");
  CHECK(run.view().last_words() == "the run ends: no space");
  CHECK(run.run("why") == "nobody runs it now; the last that was heard: the run ends: no space\n");
  CHECK(run.run("events stal") == "there are no events of kind stal; did you mean stall?");
  CHECK(nlohmann::json::parse(
            run.run("events stall", Console::Format::kJson))["events"][0]["text"] == "overdue: x");
}

TEST_CASE("show refuses what was not logged, and says what was") {
  const RunOnDisk run;
  CHECK(run.run("show") == "show needs GROUP or GROUP/SAMPLE, but there is ''");
  CHECK(run.run("show 1/x") == "show needs GROUP or GROUP/SAMPLE, but there is '1/x'");
  CHECK(run.run("show 1") == "no rollout of group 1 was logged (run.log_rollouts)");
  CHECK(run.run("show 9") == "the ledger has no group 9; groups 0 to 2 were issued");
}

TEST_CASE("a folder that a newer build wrote is refused, for reading and for writing") {
  const RunOnDisk run;
  CHECK(run.run("ledger").starts_with("issued "));
  const auto refusal = [&](const std::string& format) {
    const auto db = Database::open(run.path() / "run.db", Database::Mode::kReadWrite).value();
    REQUIRE(
        db->execute(("UPDATE run SET value = '" + format + "' WHERE key = 'format'").c_str()).ok());
    const std::string said = RunStore::open(db.get(), Database::Mode::kReadWrite).error().message;
    CHECK(run.run("ledger") == said);
    CHECK(run.run("metrics") == said);
    return said;
  };
  const std::string file = (run.path() / "run.db").string();
  CHECK(refusal("2") == file +
                            ": a newer tracewise wrote this run, in format 2; this one reads "
                            "formats up to 1");
  CHECK(refusal("x") == file + ": 'x' is no format of a run");
}

TEST_CASE("a log is followed where the line says so") {
  CHECK_FALSE(followed("log gen0"));
  CHECK_FALSE(followed("ledger -f"));
  CHECK(followed("log -f").value().empty());
  CHECK(followed("log gen0 -f") == "gen0");
}

TEST_CASE("of a run that is over the folder can be asked and its actors cannot") {
  const RunOnDisk run;
  CHECK(run.run("ps") == "nobody runs it now");
  const TempDir empty;
  const RunView view(empty.path());
  for (const auto& error : {view.ledger().error(), view.config("").error(),
                            view.metric("x", 1).error(), view.lineage(0).error()}) {
    CHECK(error.error_class == ErrorClass::kBadInput);
    CHECK(error.message.find("there is no run in this folder") != std::string::npos);
  }
}

}  // namespace tracewise
