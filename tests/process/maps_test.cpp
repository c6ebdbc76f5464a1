// SPDX-License-Identifier: BSD-2-Clause
#include "process/maps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "process/child.h"

namespace fiberprof {
namespace {

using ::testing::HasSubstr;

TEST(ParseMapping, ReadsEveryField) {
  const auto mapping =
      parse_mapping("7f12a0001000-7f12a0003000 r-xp 00001000 fe:01 1234       /opt/with two  spaces/lib.so");
  ASSERT_TRUE(mapping);
  EXPECT_EQ(mapping->start, 0x7f12a0001000u);
  EXPECT_EQ(mapping->end, 0x7f12a0003000u);
  EXPECT_EQ(mapping->offset, 0x1000u);
  EXPECT_TRUE(mapping->readable);
  EXPECT_FALSE(mapping->writable);
  EXPECT_TRUE(mapping->executable);
  EXPECT_EQ(mapping->device, makedev(0xfe, 1));
  EXPECT_EQ(mapping->inode, 1234u);
  EXPECT_EQ(mapping->path, "/opt/with two  spaces/lib.so");
  EXPECT_FALSE(mapping->deleted);
  EXPECT_TRUE(mapping->is_file());
}

TEST(ParseMapping, KnowsDeletedFilesSpecialMappingsAndLineEnds) {
  const auto deleted = parse_mapping("1000-2000 r-xp 0 fe:01 7 /bin/x (deleted)");
  ASSERT_TRUE(deleted);
  EXPECT_TRUE(deleted->deleted);
  EXPECT_EQ(deleted->path, "/bin/x");
  const auto vdso = parse_mapping("7ffd1000-7ffd3000 r-xp 00000000 00:00 0                          [vdso]");
  ASSERT_TRUE(vdso);
  EXPECT_EQ(vdso->path, "[vdso]");
  EXPECT_FALSE(vdso->is_file());
  const auto anonymous = parse_mapping("7ffd1000-7ffd3000 rwxp 00000000 00:00 0 ");
  ASSERT_TRUE(anonymous);
  EXPECT_EQ(anonymous->path, "");
  EXPECT_EQ(parse_mapping("1000-2000 r-xp 0 fe:01 7 /a\\012b")->path, "/a\nb");
}

TEST(ParseMapping, RefusesWhatIsNoMapping) {
  for (const char* line :
       {"", "x", "1000", "1000-", "1000-2000", "1000-2000 r-x", "1000-2000 r-xp", "2000-1000 r-xp 0 0:0 0",
        "1000-2000 r-xp 0 fe:01", "1000-2000 r-xp zz fe:01 1 /x", "-1-2 r-xp 0 0:0 0 x"})
    EXPECT_FALSE(parse_mapping(line)) << line;
}

TEST(ReadMaps, OfThisProcessHoldsItsOwnCode) {
  const auto maps = read_maps(static_cast<uint32_t>(getpid()));
  ASSERT_TRUE(maps);
  const Mapping* code = find_mapping(*maps, reinterpret_cast<uint64_t>(&read_maps));
  ASSERT_NE(code, nullptr);
  EXPECT_TRUE(code->executable);
  EXPECT_EQ(code->path, std::filesystem::canonical("/proc/self/exe"));
  EXPECT_EQ(find_mapping(*maps, 0), nullptr);
  EXPECT_EQ(find_mapping(*maps, UINT64_MAX), nullptr);
}

TEST(ReadMaps, SaysWhyThereAreNone) {
  const auto nobody = read_maps(0x3fffffff);
  ASSERT_FALSE(nobody);
  EXPECT_THAT(nobody.error().message(), HasSubstr("no such process"));
  const pid_t zombie = fork();
  if (zombie == 0) _exit(0);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(zombie), &info, WEXITED | WNOWAIT), 0);
  const auto ended = read_maps(static_cast<uint32_t>(zombie));
  ASSERT_FALSE(ended);
  EXPECT_THAT(ended.error().message(), HasSubstr("already ended"));
  waitpid(zombie, nullptr, 0);
  std::ifstream comm("/proc/2/comm");
  std::string name;
  if (!std::getline(comm, name) || name != "kthreadd")
    GTEST_SKIP() << "no kernel thread is visible in this pid namespace";
  const auto kernel = read_maps(2);
  ASSERT_FALSE(kernel);
  EXPECT_THAT(kernel.error().message(), HasSubstr("kernel thread"));
}

class MappedFileOf : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/fiberprof maps XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory = name;
    std::filesystem::copy_file(test::fixture_path("fiber_target"), directory + "/my program");
  }
  void TearDown() override { std::filesystem::remove_all(directory); }
  Result<MappedFile> open(uint32_t pid) {
    const auto maps = read_maps(pid);
    for (const Mapping& mapping : *maps)
      if (mapping.executable && mapping.path == directory + "/my program") return open_mapped_file(pid, mapping);
    return fail("not mapped");
  }
  uint64_t inode(int fd) {
    struct stat info {};
    fstat(fd, &info);
    return info.st_ino;
  }
  std::string directory;
};

TEST_F(MappedFileOf, ARunningProgramIsOpened) {
  test::Child child({directory + "/my program"});
  const auto file = open(child.pid());
  ASSERT_TRUE(file) << file.error().message();
  EXPECT_EQ(file->path, "/proc/" + std::to_string(child.pid()) + "/root" + directory + "/my program");
}

// What an upgrade in place does: the path now leads to another file, the process still runs the old one.
TEST_F(MappedFileOf, AReplacedProgramIsStillTheMappedOne) {
  test::Child child({directory + "/my program"});
  struct stat before {};
  stat((directory + "/my program").c_str(), &before);
  std::filesystem::copy_file(test::fixture_path("plain"), directory + "/new");
  std::filesystem::rename(directory + "/new", directory + "/my program");
  const auto file = open(child.pid());
  ASSERT_TRUE(file) << file.error().message();
  EXPECT_EQ(inode(file->fd.get()), before.st_ino);
}

// Where a fifo takes the place of the file, opening must not wait for a writer.
TEST_F(MappedFileOf, AFifoInItsPlaceIsNotOpened) {
  test::Child child({directory + "/my program"});
  struct stat before {};
  stat((directory + "/my program").c_str(), &before);
  std::filesystem::remove(directory + "/my program");
  ASSERT_EQ(mkfifo((directory + "/my program").c_str(), 0600), 0);
  const auto file = open(child.pid());
  ASSERT_TRUE(file) << file.error().message();
  EXPECT_EQ(inode(file->fd.get()), before.st_ino);
}

}  // namespace
}  // namespace fiberprof
