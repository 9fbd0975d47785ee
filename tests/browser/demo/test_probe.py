import pytest,time
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.common.by import By
@pytest.mark.parametrize("engine",["webkit"],indirect=True)
def test_x(page):
    p=page.sign_in("alice@example.com")
    b=page.browser
    p.find_element(By.CSS_SELECTOR,".editor summary").click(); time.sleep(.5)
    print(b.execute_script("const e=document.scrollingElement; return [e.tagName,e.scrollHeight,e.clientHeight,innerHeight]"))
    btn=p.find_element(By.CSS_SELECTOR, ".claims [type=submit]")
    b.execute_script("arguments[0].scrollIntoView({block:'center'})",btn); print(b.execute_script("return scrollY"), btn.rect)
    time.sleep(.5); print(b.execute_script("return scrollY"), btn.rect)
    print(b.execute_script("const r=arguments[0].getBoundingClientRect(); const e=document.elementFromPoint(r.x+9,r.y+9); return [r.x,r.y,e&&e.outerHTML.slice(0,100)]",btn))
    try: btn.click(); print("clicked")
    except Exception as e: print(type(e))
