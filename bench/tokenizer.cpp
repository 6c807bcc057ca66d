#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/bench.hpp"
#include "model/tokenizer.hpp"

namespace tracewise::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

// A real vocabulary of each kind of model, but the unigram one, which is trained on the text.
constexpr std::pair<const char*, const char*> kFamilies[] = {
    {"llama3", "byte-level BPE"}, {"llama2", "metaspace BPE"}, {"t5", "unigram"}};

Result<std::vector<std::string>> read_documents(const std::filesystem::path& file) {
  std::ifstream lines(file);
  std::vector<std::string> documents;
  for (std::string line; std::getline(lines, line);) {
    const auto document = nlohmann::json::parse(line, nullptr, false);
    if (!document.is_string()) return corrupt(file.string() + " has a line that is no string");
    documents.push_back(document.get<std::string>());
  }
  if (documents.empty()) return io_error("cannot read " + file.string());
  return documents;
}

// The best of three passes over all documents after a first one, as the reference does it.
template <class Work>
double best_speed(size_t bytes, Work work) {
  work();
  double best = 0;
  for (int pass = 0; pass < 3; ++pass) {
    const auto start = SteadyClock::now();
    work();
    const double seconds = std::chrono::duration<double>(SteadyClock::now() - start).count();
    best = std::max(best, static_cast<double>(bytes) / 1e6 / seconds);
  }
  return best;
}

Result<void> measure(const std::string& family, const std::string& kind,
                     const BenchOptions& options, const std::filesystem::path& dir,
                     std::vector<BenchResult>& results) {
  const std::filesystem::path text = dir / "documents.jsonl";
  TW_ASSIGN(const auto tokenizer, load_tokenizer(dir / family / "tokenizer.json"));
  TW_ASSIGN(const auto documents, read_documents(text));
  std::vector<std::vector<int32_t>> ids(documents.size());
  size_t bytes = 0;
  for (size_t i = 0; i < documents.size(); ++i) {
    bytes += documents[i].size();
    TW_ASSIGN(ids[i], tokenizer->encode(documents[i], true));
  }
  for (const std::string way : {"encode", "decode"}) {
    std::vector<double> ours, theirs;
    for (int i = 0; i < options.repetitions; ++i) {
      TW_ASSIGN(const double reference,
                run_reference(options, {way, (dir / family).string(), text.string()}, "tokenizers",
                              "bench/reference_tokenizer.py"));
      theirs.push_back(reference);
      ours.push_back(best_speed(bytes, [&] {
        for (size_t d = 0; d < documents.size(); ++d) {
          const size_t size = way == "encode" ? tokenizer->encode(documents[d], true)->size()
                                              : tokenizer->decode(ids[d], true).size();
          TW_CHECK(size > 0, "a document of nothing");
        }
      }));
    }
    results.push_back(summarise(way + ", " + kind, "MB/s", "tokenizers", ours, theirs));
    results.back().goal = 1;
  }
  return {};
}

}  // namespace

Result<std::vector<BenchResult>> bench_tokenizer(const BenchOptions& options) {
  const std::filesystem::path dir = options.dir / "tokenizers";
  std::vector<std::string> words = {"--documents", dir.string()};
  for (const auto& [family, kind] : kFamilies) words.emplace_back(family);
  // Says how many bytes the documents have.
  TW_TRY(run_reference(options, words, "tokenizers", "scripts/tokenizer_families.py"));
  std::vector<BenchResult> results;
  for (const auto& [family, kind] : kFamilies) TW_TRY(measure(family, kind, options, dir, results));
  return results;
}

}  // namespace tracewise::bench
